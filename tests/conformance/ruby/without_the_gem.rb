# What the gem does, with Ruby's own HTTP library, which the gem uses: trust by SSL_CERT_FILE, the token request with an
# empty Basic header beside the form, a Content-Type on a GET. Prints what account_numbers.rb prints.
require "json"
require "net/http"

dev = JSON.parse(File.read("passbook-data/dev.json"))
base = URI(dev["tls_api_url"])
headers = { "MoneyKit-Version" => "2023-02-18", "User-Agent" => "OpenAPI-Generator/0.1.6/ruby" }

Net::HTTP.start(base.host, base.port, use_ssl: true) do |http|
  form = { grant_type: "client_credentials", client_id: dev["client_id"], client_secret: dev["client_secret"] }
  sent = headers.merge("Authorization" => "Basic Og==", "Content-Type" => "application/x-www-form-urlencoded")
  answer = http.post("/auth/token", URI.encode_www_form(form), sent)
  abort "a token is answered #{answer.code}: #{answer.body}" unless answer.code == "201"
  token = JSON.parse(answer.body).fetch("access_token")

  sent = headers.merge("Authorization" => "Bearer #{token}", "Content-Type" => "application/json")
  answer = http.get("/links/#{dev["link_id"]}/accounts/numbers", sent)
  abort "numbers are answered #{answer.code}: #{answer.body}" unless answer.code == "200"
  JSON.parse(answer.body).fetch("accounts").each do |account|
    account.fetch("numbers").fetch("ach").each { |ach| puts "#{account["name"]} #{ach["routing_number"]}" }
  end
end
