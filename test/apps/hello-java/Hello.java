import com.sun.net.httpserver.HttpServer;
import java.io.IOException;
import java.net.InetSocketAddress;
import java.nio.charset.StandardCharsets;

/** Says who answers, with nothing but the JDK's own modules. */
public final class Hello {
  public static void main(String[] arguments) throws IOException {
    var env = System.getenv();
    var address = new InetSocketAddress(env.getOrDefault("HOST", "0.0.0.0"), Integer.parseInt(env.getOrDefault("PORT", "8080")));
    var server = HttpServer.create(address, 0);
    server.createContext("/", exchange -> {
      var body = ("hello from java, index " + env.getOrDefault("CF_INSTANCE_INDEX", "0") + "\n").getBytes(StandardCharsets.UTF_8);
      exchange.sendResponseHeaders(200, body.length);
      exchange.getResponseBody().write(body);
      exchange.close();
    });
    server.start();
    System.out.println("hello-java listens on " + address.getPort());
  }
}
