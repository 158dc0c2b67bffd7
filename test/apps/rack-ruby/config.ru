# A Rack application, served by Puma.
run lambda { |env|
  text = "hello from rack by #{env["SERVER_SOFTWARE"].split.first}, index #{ENV.fetch("CF_INSTANCE_INDEX", "0")}\n"
  [200, { "content-type" => "text/plain" }, [text]]
}
