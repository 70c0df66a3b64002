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
        Country,
        LinkProductError,
        PhoneNumberType,
        Product,
        Provider,
        PublicLinkError,
        PublicLinkState,
        TransactionType
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
    let numbers = &numbered.numbers;
    let shown = format!(
        "{numbered:?} {:?} {:?} {:?} {:?} {owned:?} {owner:?} {:?} {:?} {:?} {link:?} {transaction:?} {token:?} \
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
        "coffee",
    ] {
        assert!(!shown.contains(secret), "{secret} in {shown}");
    }
    assert!(shown.contains("acc_1") && shown.contains("[redacted]"));
}
