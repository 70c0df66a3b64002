require "json"
require "moneykit"

dev = JSON.parse(File.read("passbook-data/dev.json"))

MoneyKit.configure do |config|
  config.host = dev["tls_api_url"].delete_prefix("https://")
  config.server_index = nil
end

tokens = MoneyKit::AccessTokenApi.new
# Older versions of the gem have a different name for it.
create = tokens.respond_to?(:create_access_token) ? :create_access_token : :generate_access_token
token = tokens.public_send(
  create,
  grant_type: "client_credentials",
  client_id: dev["client_id"],
  client_secret: dev["client_secret"]
)
MoneyKit.configure { |config| config.access_token = token.access_token }

answer = MoneyKit::AccountNumbersApi.new.get_account_numbers(dev["link_id"])
answer.accounts.each do |account|
  account.numbers.ach.each { |ach| puts "#{account.name} #{ach.routing_number}" }
end
