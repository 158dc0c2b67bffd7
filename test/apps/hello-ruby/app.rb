# Says who answers, with Ruby's standard library and a gem of its own.
require "greeting"
require "json"
require "openssl"
require "socket"

server = TCPServer.new(ENV.fetch("HOST", "0.0.0.0"), Integer(ENV.fetch("PORT", "8080")))
$stdout.sync = true
puts "hello-ruby listens on #{server.addr[1]}"
trap("TERM") { exit 0 }

loop do
  Thread.start(server.accept) do |client|
    request = client.gets.to_s
    nil until client.gets.to_s.strip.empty?
    body = request.include?(" /json ") ? JSON.dump(language: "ruby", version: RUBY_VERSION) : "#{Greeting.text}, index #{ENV.fetch("CF_INSTANCE_INDEX", "0")}\n"
    client.write("HTTP/1.1 200 OK\r\nContent-Type: text/plain\r\nContent-Length: #{body.bytesize}\r\nConnection: close\r\n\r\n#{body}")
  rescue IOError, SystemCallError
    nil # The client went away.
  ensure
    client.close
  end
end
