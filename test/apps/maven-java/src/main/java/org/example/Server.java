package org.example;

import com.sun.net.httpserver.HttpServer;
import java.io.IOException;
import java.net.InetSocketAddress;
import java.nio.charset.StandardCharsets;

/** Says who answers, from a jar that Maven made. */
public final class Server {
  public static void main(String[] arguments) throws IOException {
    var env = System.getenv();
    var address = new InetSocketAddress(env.getOrDefault("HOST", "0.0.0.0"), Integer.parseInt(env.getOrDefault("PORT", "8080")));
    var server = HttpServer.create(address, 0);
    server.createContext("/", exchange -> {
      var body = ("hello from maven, index " + env.getOrDefault("CF_INSTANCE_INDEX", "0") + "\n").getBytes(StandardCharsets.UTF_8);
      exchange.sendResponseHeaders(200, body.length);
      exchange.getResponseBody().write(body);
      exchange.close();
    });
    server.start();
    System.out.println("maven-java listens on " + address.getPort());
  }
}
