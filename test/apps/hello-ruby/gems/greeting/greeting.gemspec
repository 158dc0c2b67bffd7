Gem::Specification.new do |gem|
  gem.name = "greeting"
  gem.version = "1.0.0"
  gem.summary = "A gem inside of the app that uses it"
  gem.authors = ["Peer"]
  gem.files = ["lib/greeting.rb"]
end
