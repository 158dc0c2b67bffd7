module Greeting
  def self.text = "hello from ruby"
end
