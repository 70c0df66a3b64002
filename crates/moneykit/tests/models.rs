//! The models against the contract: its field order, its words, its samples, and what `Debug` must not show.

use std::fmt;

use moneykit::models::*;
use serde::{Deserialize, Deserializer, Serialize, de::DeserializeOwned};

const CONTRACT: &str = include_str!("../../../contract/openapi.yaml");

/// The lines of one schema, found by indentation so that no YAML reader is needed.
fn schema(name: &str) -> Vec<&'static str> {
    let start = format!("    {name}:");
    let mut lines = CONTRACT.lines().skip_while(|line| *line != "  schemas:").skip_while(|line| *line != start);
    assert_eq!(lines.next(), Some(start.as_str()), "no schema {name}");
    lines.take_while(|line| line.starts_with("      ")).collect()
}

fn properties(name: &str) -> Vec<String> {
    let mut lines = schema(name).into_iter().skip_while(|line| *line != "      properties:");
    lines.next();
    lines
        .take_while(|line| line.starts_with("        "))
        .filter(|line| !line.starts_with("         ") && line.ends_with(':'))
        .map(|line| line.trim().trim_end_matches(':').to_owned())
        .collect()
}

fn words(name: &str) -> Vec<&'static str> {
    let lines = schema(name).into_iter().skip_while(|line| *line != "      enum:").skip(1);
    lines.map_while(|line| line.strip_prefix("      - ")).collect()
}

/// The keys of a JSON object in the order they are written.
struct Keys(Vec<String>);

impl<'de> Deserialize<'de> for Keys {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Visitor;
        impl<'de> serde::de::Visitor<'de> for Visitor {
            type Value = Keys;
            fn expecting(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
                formatter.write_str("an object")
            }
            fn visit_map<A: serde::de::MapAccess<'de>>(self, mut map: A) -> Result<Keys, A::Error> {
                let mut keys = Vec::new();
                while let Some((key, _)) = map.next_entry::<String, serde::de::IgnoredAny>()? {
                    keys.push(key);
                }
                Ok(Keys(keys))
            }
        }
        deserializer.deserialize_map(Visitor)
    }
}

/// Reads a sample, checks that it is written with all the contract's keys in the contract's order, and returns it.
#[track_caller]
fn check<T: Serialize + DeserializeOwned + PartialEq + fmt::Debug>(schema: &str, sample: &str) -> T {
    let value: T = serde_json::from_str(sample).unwrap();
    let json = serde_json::to_string(&value).unwrap();
    let Keys(keys) = serde_json::from_str(&json).unwrap();
    assert_eq!(keys, properties(schema), "{schema}");
    assert_eq!(serde_json::from_str::<T>(&json).unwrap(), value, "{schema} does not survive a round trip");
    value
}

const BALANCES: &str = r#"{"currency":"USD","available":0.1,"current":12345678901234.56,"limit":null,"balance_date":"2024-01-09T10:32:38.401223Z"}"#;

const LINK: &str = r#"{"link_id":"mk_eqkWN34UEoa2NxyALG8pcV","institution_id":"credentials_bank","institution_name":"Credentials Bank","institution_avatar":"https://img.example/c.png","state":"connected","error_code":null,"last_synced_at":"2024-01-09T10:32:38.401223Z","provider":"moneykit","link_tags":["a"],"tags":["a"],"webhook":"https://app.example/hook?key=WEBHOOKSECRET","products":{"accounts":{"refreshed_at":"2024-01-09T10:32:38.401223Z","last_attempted_at":"2024-01-09T10:32:38.000000Z","error_code":null,"error_message":null,"unavailable":null,"settings":{"required":true,"require_permission":false,"prefetch":true,"reason":null}},"transactions":{"refreshed_at":null,"last_attempted_at":null,"error_code":"unknown","error_message":"?","unavailable":null,"settings":null,"has_history":true}},"available_products":["identity"]}"#;

fn account(extra: &str) -> String {
    format!(
        r#"{{"account_id":"acc_1","account_type":"depository.checking","name":"PERSONAL checking","nickname":null,"account_mask":"6789","balances":{BALANCES},"original_id":null,"closed":null{extra}}}"#
    )
}

const NUMBERS: &str = r#"{"ach":[{"account_number":"000123456789","routing_number":"011401533","wire_routing_number":null}],"eft":[{"account_number":"111122223333","institution_number":"021","branch_number":"01140"}],"bacs":[{"account_number":"31926819","sort_code":"601613"}],"international":[{"iban":"GB33BUKB20201555555555","bic":"BUKBGB22"}]}"#;

const OWNER: &str = r#"{"names":["PERSONAL Name"],"addresses":[{"city":"PERSONAL city","country":"PERSONAL","postal_code":"PERSONAL","region":null,"street":"PERSONAL street","primary":true}],"phone_numbers":[{"number":"PERSONAL 555","primary":null,"type":"mobile"}],"emails":[{"address":"PERSONAL@example.com","primary":false}]}"#;

const TRANSACTION: &str = r#"{"transaction_id":"txn_1","account_id":"acc_1","amount":"7.10","type":"debit","currency":"USD","date":"2024-01-09","datetime":null,"description":"PERSONAL coffee","raw_description":"PERSONAL COFFEE 123","pending":false,"category":"food_and_drink.coffee_shops","enrichment":{"category":{"value":"food_and_drink","confidence":90},"subcategory":{"value":"coffee","confidence":null},"merchant":{"id":"m","name":"PERSONAL shop","logo":null,"confidence":1},"processor":{"id":null,"name":null,"logo":null,"confidence":null},"recurrence":{"frequency":"monthly","next_predicted_date":"2024-02-09"}},"original_id":null}"#;

const HOLDING: &str = r#"{"account_id":"acc_1","security_id":"sec_1","quantity":"8731.5","price":"8732.10","price_datetime":"2024-01-09T10:32:38.401223Z","value":"8733.00","cost_basis":null}"#;

const SECURITY: &str = r#"{"security_id":"sec_1","name":"A Fund","type":"fund","currency":"USD","ticker":"AFND","isin":"US0378331005","sedol":null,"close_price":"12.30","close_date":"2024-01-08"}"#;

const BOUGHT: &str = r#"{"investment_transaction_id":"it_1","account_id":"acc_1","amount":"8734.10","date":"2024-01-09","datetime":null,"description":"PERSONAL order","type":"buy.buy_to_cover","fees":"8735.10","forex_rate":null,"price":"8736.00","quantity":"8737","security_id":"sec_1"}"#;

#[test]
fn answers_have_the_contracts_fields_in_its_order() {
    let link: LinkCommon = check("LinkCommon", LINK);
    assert_eq!(serde_json::to_string(&link).unwrap(), LINK);
    let plain: AccountResponse = check("AccountResponse", &account(""));
    assert_eq!(serde_json::to_string(&plain).unwrap(), account(""));
    let numbered = account(&format!(r#","numbers":{NUMBERS}"#));
    let value: AccountWithAccountNumbers = check("AccountWithAccountNumbersLegacy20230218", &numbered);
    assert_eq!(serde_json::to_string(&value).unwrap(), numbered);
    let owned = account(&format!(r#","owners":[{OWNER}]"#));
    let value: AccountIdentity = check("AccountIdentity", &owned);
    assert_eq!(serde_json::to_string(&value).unwrap(), owned);
    let value: TransactionResponse = check("TransactionResponse", TRANSACTION);
    assert_eq!(serde_json::to_string(&value).unwrap(), TRANSACTION);
    check::<AccountBalances>("AccountBalances", BALANCES);
    check::<AccountNumbers>("AccountNumbersLegacy20230218", NUMBERS);
    check::<Owner>("Owner", OWNER);
    let numbers = format!(r#"{{"accounts":[{numbered}],"link":{LINK}}}"#);
    check::<GetAccountNumbersResponse>("GetAccountNumbersResponseLegacy20230218", &numbers);
    check::<GetAccountsResponse>("GetAccountsResponse", &format!(r#"{{"accounts":[],"link":{LINK}}}"#));
    check::<GetAccountResponse>("GetAccountResponse", &format!(r#"{{"account":{},"link":{LINK}}}"#, account("")));
    check::<IdentityResponse>("IdentityResponse", &format!(r#"{{"accounts":[],"link":{LINK}}}"#));
    let transactions =
        format!(r#"{{"total":1,"page":1,"size":1,"transactions":[{TRANSACTION}],"accounts":[],"link":{LINK}}}"#);
    check::<GetTransactionsResponse>("ApiPublicTransactionsLegacyGetTransactionsResponse", &transactions);
    check::<ExchangeTokenResponse>("ExchangeTokenResponse", &format!(r#"{{"link_id":"mk_1","link":{LINK}}}"#));
}

#[test]
fn the_other_schemas_have_the_contracts_fields_in_its_order() {
    check::<AchNumber>("AchNumber", r#"{"account_number":"1","routing_number":"2"}"#);
    check::<EftNumber>("EftNumber", r#"{"account_number":"1","institution_number":"2","branch_number":"3"}"#);
    check::<BacsNumber>("BacsNumber", r#"{"account_number":"1","sort_code":"2"}"#);
    check::<InternationalNumber>("InternationalNumber", r#"{"iban":"1","bic":"2"}"#);
    check::<Address>("Address", "{}");
    check::<PhoneNumber>("PhoneNumber", r#"{"number":"1","type":"home"}"#);
    check::<Email>("Email", r#"{"address":"1"}"#);
    check::<LinkProductResponse>("LinkProductResponse", "{}");
    check::<TransactionsLinkProduct>("TransactionsLinkProduct", r#"{"has_history":true}"#);
    check::<ProductSettings>("ProductSettings", "{}");
    check::<TransactionsProductSettings>("TransactionsProductSettings", r#"{"required":null}"#);
    check::<ProductsSettings>("ProductsSettings", "{}");
    check::<RefreshProductsRequest>("RefreshProductsRequest", r#"{"products":["accounts"]}"#);
    check::<GetLinksResponse>("GetLinksResponse", r#"{"links":null}"#);
    check::<GetLinksLink>("GetLinksLink", r#"{"link_id":"mk_1","created_at":"2024-01-09T10:32:38"}"#);
    check::<CreateAccessTokenResponse>(
        "CreateAccessTokenResponse",
        r#"{"access_token":"t","token_type":"bearer","expires_in":3600}"#,
    );
    let app = r#"{"app_id":"a","name":"n","id":"a","app_name":"n"}"#;
    check::<AppResponse>("AppResponse", app);
    check::<AppClientResponse>(
        "AppClientResponse",
        &format!(r#"{{"client_id":"c","client_name":"n","scope":"","app":{app}}}"#),
    );
    let institution = r#"{"institution_id":"chase","institution_id_aliases":["mx.chase"],"name":"Chase","country":"US","is_featured":true}"#;
    check::<Institution>("Institution", institution);
    check::<GetInstitutionsResponse>(
        "GetInstitutionsResponse",
        &format!(r#"{{"institutions":[{institution}],"cursors":{{}}}}"#),
    );
    check::<CursorPagination>("CursorPagination", "{}");
    check::<JWKSet>(
        "JWKSet",
        r#"{"keys":[{"kty":"EC","use":"sig","alg":"ES256","kid":"k","crv":"P-256","x":"x","y":"y"}]}"#,
    );
    check::<TransactionEnrichmentResponse>("TransactionEnrichmentResponse", r#"{"category":{"value":"home"}}"#);
    check::<TransactionCategoryResponse>("TransactionCategoryResponse", r#"{"value":"home"}"#);
    check::<TransactionSubcategoryResponse>("TransactionSubcategoryResponse", r#"{"value":"pets"}"#);
    check::<TransactionMerchantResponse>("TransactionMerchantResponse", "{}");
    check::<TransactionProcessorResponse>("TransactionProcessorResponse", "{}");
    check::<TransactionRecurrenceResponse>("TransactionRecurrenceResponse", "{}");
}

#[test]
fn changes_of_transactions_have_the_contracts_fields_in_its_order() {
    let changes = format!(r#"{{"created":[{TRANSACTION}],"updated":[],"removed":["txn_0"]}}"#);
    let value: TransactionSync = check("TransactionSync", &changes);
    assert_eq!(serde_json::to_string(&value).unwrap(), changes);
    assert!(!value.is_empty() && TransactionSync::default().is_empty());
    let page = format!(
        r#"{{"transactions":{changes},"accounts":[{}],"cursor":{{"next":"c"}},"has_more":false,"link":{LINK}}}"#,
        account("")
    );
    let value: TransactionSyncResponse = check("TransactionSyncResponse", &page);
    assert_eq!(serde_json::to_string(&value).unwrap(), page);
    let corrected =
        format!(r#"{{"transactions":[{TRANSACTION}],"accounts":[],"link":{LINK},"cursor":{{"next":null}}}}"#);
    let value: CorrectEnrichmentResponse = check("ApiPublicTransactionsGetTransactionsResponse", &corrected);
    assert_eq!(serde_json::to_string(&value).unwrap(), corrected);
    check::<BudCategory>("BudCategory", r#"{"category":"home"}"#);
}

#[test]
fn investments_have_the_contracts_fields_in_its_order() {
    let holding: HoldingResponse = check("HoldingResponse", HOLDING);
    assert_eq!(serde_json::to_string(&holding).unwrap(), HOLDING);
    let security: SecurityResponse = check("SecurityResponse", SECURITY);
    assert_eq!(serde_json::to_string(&security).unwrap(), SECURITY);
    check::<SecurityResponse>(
        "SecurityResponse",
        r#"{"security_id":"sec_1","name":"n","type":"unknown","currency":"USD"}"#,
    );
    let bought: InvestmentTransactionResponse = check("InvestmentTransactionResponse", BOUGHT);
    assert_eq!(serde_json::to_string(&bought).unwrap(), BOUGHT);
    assert_eq!((bought.kind(), bought.subtype()), (InvestmentTransactionKind::Buy, Some("buy_to_cover")));
    assert_eq!(bought.amount.direction(), Some(TransactionType::Debit));
    check::<GetHoldingsResponse>(
        "GetHoldingsResponse",
        &format!(r#"{{"holdings":[{HOLDING}],"securities":[{SECURITY}],"accounts":[],"link":{LINK}}}"#),
    );
    check::<GetInvestmentTransactionsResponse>(
        "GetInvestmentTransactionsResponse",
        &format!(
            r#"{{"total":1,"page":1,"size":1,"investment_transactions":[{BOUGHT}],"securities":[],"accounts":[],"link":{LINK}}}"#
        ),
    );
    // The contract keeps these two in prose.
    for kind in SecurityType::KNOWN {
        assert!(schema("SecurityResponse").iter().any(|line| line.contains(kind.as_str())), "{kind}");
    }
    for kind in InvestmentTransactionKind::KNOWN {
        assert!(schema("InvestmentTransactionResponse").iter().any(|line| line.contains(kind.as_str())), "{kind}");
    }
}

#[test]
fn answers_about_users_have_the_contracts_fields_in_its_order() {
    check::<GetUserLinksResponse>("GetUserLinksResponse", &format!(r#"{{"links":{{"mk_1":{LINK}}}}}"#));
    let group = format!(r#"{{"accounts":[{}],"last_synced_at":"2024-01-09T10:32:38.401223Z"}}"#, account(""));
    let value: AccountGroup = check("AccountGroup", &group);
    assert_eq!(serde_json::to_string(&value).unwrap(), group);
    check::<GetUserAccountsResponse>("GetUserAccountsResponse", &format!(r#"{{"links":{{"mk_1":{group}}}}}"#));
    let details = r#"{"name":"n","institution_id":"chase","link_id":"mk_1"}"#;
    check::<BasicAccountDetails>("BasicAccountDetails", details);
    let page =
        format!(r#"{{"total":1,"page":1,"size":1,"transactions":[{TRANSACTION}],"accounts":{{"acc_1":{details}}}}}"#);
    check::<GetUserTransactionsResponse>("GetUserTransactionsResponse", &page);
}

#[test]
fn imports_have_the_contracts_fields_in_its_order() {
    let date = "2024-01-09".parse::<jiff::civil::Date>().unwrap();
    let spent = ImportAmount::from_credit_positive("-7.10".parse().unwrap());
    let account = AccountImportData::new("a", "n", "checking").nickname("x").mask("6789");
    let transaction =
        TransactionImportData::new("a", spent, date).transaction_id("t").description("d").transaction_type("card");
    let request = ImportLinkRequest::new("user-1", "mx.chase")
        .provider(Provider::Mx)
        .account(account.balances(AccountBalances::default()))
        .transaction(transaction.clone());
    let value: ImportLinkRequest = check("ImportLinkRequest", &serde_json::to_string(&request).unwrap());
    assert_eq!(value, request);
    check::<AccountImportData>("AccountImportData", &serde_json::to_string(&request.accounts[0]).unwrap());
    let written = serde_json::to_string(&transaction).unwrap();
    check::<TransactionImportData>("TransactionImportData", &written);
    assert!(written.contains(r#""amount":"-7.10","date":"2024-01-09""#), "{written}");
    check::<ImportTransactionsRequest>(
        "ImportTransactionsRequest",
        &serde_json::to_string(&ImportTransactionsRequest::new([transaction])).unwrap(),
    );
}

#[test]
fn a_date_of_an_import_may_have_a_time() {
    for (read, written) in [
        (r#""2024-01-09""#, r#""2024-01-09""#),
        (r#""2024-01-09T10:32:38Z""#, r#""2024-01-09T10:32:38.000000Z""#),
        (r#""2024-01-09T10:32:38""#, r#""2024-01-09T10:32:38.000000Z""#),
    ] {
        let date: ModelDate = serde_json::from_str(read).unwrap();
        assert_eq!(serde_json::to_string(&date).unwrap(), written);
    }
    for text in [r#""""#, r#""9 January""#, r#""2024-13-01""#, "20240109", r#""2024-01-09T""#] {
        assert!(serde_json::from_str::<ModelDate>(text).is_err(), "{text}");
    }
}

#[test]
fn an_update_says_only_what_it_changes() {
    assert_eq!(serde_json::to_string(&UpdateLinkRequest::new()).unwrap(), "{}");
    let all = r#"{"webhook":"https://a.example","link_tags":["a"],"tags":["b"]}"#;
    let all: UpdateLinkRequest = check("UpdateLinkRequest", all);
    assert_eq!(all.webhook, WebhookChange::Set("https://a.example".to_owned()));
    for (json, expected) in [("{}", WebhookChange::Keep), (r#"{"webhook":null}"#, WebhookChange::Remove)] {
        let read: UpdateLinkRequest = serde_json::from_str(json).unwrap();
        assert_eq!(read.webhook, expected);
        assert_eq!(serde_json::to_string(&read).unwrap(), json);
    }
}

#[test]
fn webhooks_have_the_contracts_fields_names_and_order() {
    let common =
        r#""webhook_idempotency_key":"k","webhook_timestamp":"2024-01-09T10:32:38Z","link_id":"mk_1","link_tags":[]"#;
    let changed: AppLinkStateChangedWebhook =
        check("AppLinkStateChangedWebhook", &format!(r#"{{{common},"state":"error","error":"auth_expired"}}"#));
    assert_eq!((changed.webhook_major_version, changed.webhook_event.as_str()), (1, "link.state_changed"));
    let refreshed: ProductStateChangedWebhook = check(
        "ProductStateChangedWebhook",
        &format!(
            r#"{{{common},"product":"accounts","state":"in_progress","state_changed_at":"2024-01-09T10:32:38Z"}}"#
        ),
    );
    assert_eq!(refreshed.state, LinkProductState::InProgress);
    let updates: TransactionUpdatesAvailableWebhook =
        check("TransactionUpdatesAvailableWebhook", &format!("{{{common}}}"));
    for (schema_name, event, default) in [
        ("AppLinkStateChangedWebhook", AppLinkStateChangedWebhook::EVENT, &changed.webhook_event),
        ("ProductStateChangedWebhook", ProductStateChangedWebhook::EVENT, &refreshed.webhook_event),
        ("TransactionUpdatesAvailableWebhook", TransactionUpdatesAvailableWebhook::EVENT, &updates.webhook_event),
    ] {
        assert!(schema(schema_name).contains(&format!("          const: {event}").as_str()), "{schema_name}");
        assert_eq!(default, event);
    }
    let test = WebhookTestLinkRequest::new(WebhookLinkTestEvent::LinkStateChanged, "k");
    check::<WebhookTestLinkRequest>("WebhookTestLinkRequest", &serde_json::to_string(&test).unwrap());
    check::<WebhookTestLinkResponse>("WebhookTestLinkResponse", r#"{"delivery_token":"t"}"#);
}

#[test]
fn every_schema_of_the_contract_has_a_model_that_is_checked_here() {
    // Anonymous unions, and a filter that servers ignore and clients therefore do not send.
    const WITHOUT_A_MODEL: [&str; 2] = ["TransactionTypeFilter", "ValidationErrorLocationInner"];
    let here = include_str!("models.rs");
    let names: Vec<_> = CONTRACT
        .lines()
        .skip_while(|line| *line != "  schemas:")
        .filter_map(|line| line.strip_prefix("    ")?.strip_suffix(':'))
        .filter(|name| !name.starts_with(' ') && !WITHOUT_A_MODEL.contains(name))
        .collect();
    assert!(names.len() > 80, "{}", names.len());
    for name in names {
        let as_text = here.contains(&format!("\"{name}\""));
        let as_a_word = here.contains(&format!("        {name},")) || here.contains(&format!("from_str::<{name}>"));
        assert!(as_text || as_a_word, "{name}");
    }
}

#[test]
fn link_session_schemas_have_the_contracts_fields_in_its_order() {
    let user = r#"{"id":"user-1","email":{"address":"a@example.com"},"phone":{"number":"+15555550100"}}"#;
    check::<CustomerUser>("CustomerUser", user);
    check::<CustomerUserEmail>("CustomerUserEmail", r#"{"address":"a@example.com"}"#);
    check::<CustomerUserPhone>("CustomerUserPhone", r#"{"number":"1","country":"GB"}"#);
    check::<CreateLinkSessionRequest>(
        "CreateLinkSessionRequest",
        &format!(r#"{{"customer_user":{user},"redirect_uri":"https://a.example"}}"#),
    );
    check::<CreateLinkSessionResponse>("CreateLinkSessionResponse", r#"{"link_session_token":"t"}"#);
    check::<ExchangeTokenRequest>("ExchangeTokenRequest", r#"{"exchangeable_token":"t"}"#);
    check::<LinkSessionSettingOverrides>("LinkSessionSettingOverrides", "{}");
    check::<MoneyKitConnectFeatures>("MoneyKitConnectFeatures", "{}");
    check::<CustomSandboxData>("CustomSandboxData", r#"{"accounts":[]}"#);
    check::<CustomSandboxAccount>(
        "CustomSandboxAccount",
        r#"{"account_type":"other","name":"n","account_number":"1"}"#,
    );
}

#[test]
fn error_bodies_have_the_contracts_fields_codes_and_messages() {
    use moneykit::models::errors::*;
    macro_rules! same_as_contract {
        ($($name:ident),+ $(,)?) => { $({
            let body: $name = check(stringify!($name), "{}");
            let schema = schema(stringify!($name));
            assert!(schema.contains(&format!("          const: {}", $name::CODE).as_str()), stringify!($name));
            assert_eq!(body.error_code, $name::CODE);
            let message = format!("          default: {}", body.error_message);
            assert!(body.error_message.is_empty() || schema.contains(&message.as_str()), "{message}");
            assert_eq!($name::new("m").error_message, "m");
        })+ };
    }
    same_as_contract!(
        APIErrorAuthExpiredAccessTokenResponse,
        APIErrorAuthUnauthorizedResponse,
        APIErrorRateLimitExceededResponse,
        InstitutionErrorNotFoundResponse,
        LinkErrorBadConfigResponse,
        LinkErrorDeletedResponse,
        LinkErrorForbiddenActionResponse,
        LinkErrorNotFoundResponse,
        LinkErrorUnauthorizedAccessResponse,
        LinkSessionErrorForbiddenConfigResponse,
        LinkSessionErrorInvalidTokenExchange,
    );
    let bad_state = serde_json::to_string(&LinkErrorBadStateResponse::new("m", "auth_expired")).unwrap();
    let bad_state: LinkErrorBadStateResponse = check("LinkErrorBadStateResponse", &bad_state);
    assert_eq!(
        (bad_state.error_code.as_str(), bad_state.link_error_code.as_str()),
        ("link_error.bad_state", "auth_expired")
    );
    let problem = r#"{"location":["body",0],"message":"m","type":"t"}"#;
    check::<ValidationError>("ValidationError", problem);
    let problem = serde_json::from_str(problem).unwrap();
    let invalid = serde_json::to_string(&HTTPValidationError::new(vec![problem])).unwrap();
    let invalid: HTTPValidationError = check("HTTPValidationError", &invalid);
    assert_eq!(invalid.error_message, "Request validation error");
    check::<APIErrorResponse>("APIErrorResponse", &serde_json::to_string(&APIErrorResponse::new("a", "b")).unwrap());
}

#[test]
fn enums_know_exactly_the_contracts_words() {
    macro_rules! same_words {
        ($($name:ident),+ $(,)?) => { $(
            let known: Vec<_> = $name::KNOWN.iter().map($name::as_str).collect();
            assert_eq!(known, words(stringify!($name)));
        )+ };
    }
    same_words!(
        BudPrimaryCategory,
        BudSubcategory,
        Country,
        LinkProductError,
        LinkProductState,
        PhoneNumberType,
        Product,
        Provider,
        PublicLinkError,
        PublicLinkState,
        TransactionType,
        WebhookLinkTestEvent,
    );
}

#[test]
fn words_and_fields_of_tomorrow_are_no_error() {
    let tomorrow = LINK
        .replace(r#""state":"connected""#, r#""state":"paused","new_field":{"a":[1]}"#)
        .replace(r#""provider":"moneykit""#, r#""provider":"newcomer""#)
        .replace(r#"["identity"]"#, r#"["identity","crypto"]"#);
    let link: LinkCommon = serde_json::from_str(&tomorrow).unwrap();
    assert_eq!(link.state, PublicLinkState::Unknown("paused".to_owned()));
    assert_eq!(link.available_products[1].as_str(), "crypto");
    let json = serde_json::to_string(&link).unwrap();
    assert!(json.contains(r#""state":"paused""#) && json.contains(r#""provider":"newcomer""#));
    assert!(json.contains(r#"["identity","crypto"]"#) && !json.contains("new_field"));
    // The contract's own word "unknown" is not an unknown word.
    let status = link.products.status(&Product::Transactions).unwrap();
    assert_eq!(status.error_code, Some(&LinkProductError::UnknownCause));
}

#[test]
fn products_that_were_not_granted_are_left_out() {
    let products: LinkProducts = serde_json::from_str(r#"{"identity":null,"accounts":{}}"#).unwrap();
    let Keys(keys) = serde_json::from_str(&serde_json::to_string(&products).unwrap()).unwrap();
    assert_eq!(keys, ["accounts"]);
    assert!(products.status(&Product::Identity).is_none() && products.status(&Product::from("crypto")).is_none());
    let all = r#"{"enrichment":{},"investments":{},"transactions":{"has_history":true},"identity":{},"account_numbers":{},"accounts":{}}"#;
    let all: LinkProducts = check("LinkProducts", all);
    assert!(Product::KNOWN.iter().all(|product| all.status(product).is_some()));
}

#[test]
fn debug_never_shows_numbers_tokens_or_people() {
    let numbered: AccountWithAccountNumbers =
        serde_json::from_str(&account(&format!(r#","numbers":{NUMBERS}"#))).unwrap();
    let owned: AccountIdentity = serde_json::from_str(&account(&format!(r#","owners":[{OWNER}]"#))).unwrap();
    let owner: Owner = serde_json::from_str(OWNER).unwrap();
    let link: LinkCommon = serde_json::from_str(LINK).unwrap();
    let transaction: TransactionResponse = serde_json::from_str(TRANSACTION).unwrap();
    let token: CreateAccessTokenResponse =
        serde_json::from_str(r#"{"access_token":"TOKEN","token_type":"bearer","expires_in":1}"#).unwrap();
    let sandbox = CustomSandboxAccount {
        account_type: "other".to_owned(),
        name: "PERSONAL".to_owned(),
        account_number: "000123456789".to_owned(),
        routing_number: Some("011401533".to_owned()),
    };
    let mut user = CustomerUser::new("user-1");
    user.email = Some(CustomerUserEmail { address: "PERSONAL@example.com".to_owned(), customer_verified_at: None });
    user.phone =
        Some(CustomerUserPhone { number: "PERSONAL 555".to_owned(), country: None, customer_verified_at: None });
    let session = CreateLinkSessionRequest::new(user, "https://a.example")
        .webhook("https://app.example/hook?key=WEBHOOKSECRET")
        .custom_sandbox_data(CustomSandboxData { accounts: vec![sandbox.clone()], owners: Some(vec![owner.clone()]) });
    let session_token = CreateLinkSessionResponse { link_session_token: "TOKEN".to_owned() };
    let holding: HoldingResponse = serde_json::from_str(HOLDING).unwrap();
    let bought: InvestmentTransactionResponse = serde_json::from_str(BOUGHT).unwrap();
    let update = UpdateLinkRequest::new().webhook("https://app.example/hook?key=WEBHOOKSECRET");
    let import = ImportLinkRequest::new("user-1", "chase")
        .account(AccountImportData::new("PERSONAL", "PERSONAL", "checking").mask("6789"))
        .transaction(
            TransactionImportData::new("PERSONAL", ImportAmount::credit(transaction.amount), transaction.date)
                .transaction_id("PERSONAL")
                .description("PERSONAL"),
        );
    let more = format!("{holding:?} {bought:?} {update:?} {:?} {import:?} {:?}", update.webhook, transaction.amount);
    let numbers = &numbered.numbers;
    let shown = format!(
        "{more} {numbered:?} {:?} {:?} {:?} {:?} {owned:?} {owner:?} {:?} {:?} {:?} {link:?} {transaction:?} {token:?} \
         {sandbox:?} {session:?} {session_token:?} {:?} {:#?}",
        numbers.ach,
        numbers.eft,
        numbers.bacs,
        numbers.international,
        owner.addresses,
        owner.phone_numbers,
        owner.emails,
        ExchangeTokenRequest::new("TOKEN"),
        numbered
    );
    for secret in [
        "000123456789",
        "011401533",
        "111122223333",
        "01140",
        "31926819",
        "601613",
        "GB33BUKB",
        "BUKBGB22",
        "6789",
        "PERSONAL",
        "TOKEN",
        "WEBHOOKSECRET",
        "12345678901234.56",
        "7.10",
        "873",
        "coffee",
    ] {
        assert!(!shown.contains(secret), "{secret} in {shown}");
    }
    assert!(shown.contains("acc_1") && shown.contains("[redacted]"));
}
