//! The local API: who is let in, and what is streamed.

use std::collections::BTreeSet;
use std::os::unix::fs::PermissionsExt as _;
use std::time::{Duration, Instant};

use kos_tests::{Api, Event, Person, Reply};
use node::bus::KEPT;
use node::services::audit::Filter;
use node::web::ROUTES;
use serde_json::{Value, json};

/// A path with something in the place of every name.
fn filled(route: &str) -> String {
    route.split('/').map(|part| if part.starts_with('{') { "something" } else { part }).collect::<Vec<_>>().join("/")
}

#[track_caller]
fn is_refused(reply: &Reply, status: u16, code: &str, what: &str) {
    assert_eq!((reply.status, reply.refusal()), (status, code), "{what}: {reply:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn p11_every_route_refuses_strangers_foreign_pages_and_long_bodies() {
    let bob = Person::new(&["--metrics", "127.0.0.1:0"]).await;
    let api = Api::open(&bob).await;
    let before = bob.node.audit.verify().await.unwrap().entries;
    let mut denied = Vec::new();
    let wrong = api.token.replace(|digit: char| digit.is_ascii_digit(), "0");
    for (method, route) in ROUTES {
        let what = format!("{method} {route}");
        let call = || api.request(method, &filled(route));
        if !["/healthz", "/readyz"].contains(route) {
            is_refused(&call().without("Authorization").send().await, 401, "unauthorized", &what);
            let wrong = call().with("Authorization", format!("Bearer {wrong}"));
            is_refused(&wrong.send().await, 401, "unauthorized", &what);
            let in_the_address = api.request(method, &format!("{}?token={}", filled(route), api.token));
            let in_the_address = in_the_address.without("Authorization").with("Cookie", format!("token={}", api.token));
            is_refused(&in_the_address.send().await, 401, "unauthorized", &what);
            let twice = call().and("Authorization", format!("Bearer {}", api.token));
            is_refused(&twice.send().await, 401, "unauthorized", &what);
            denied.extend(vec![(what.clone(), "code=unauthorized"); 4]);
        }
        is_refused(&call().with("Host", "evil.example").send().await, 403, "foreign_origin", &what);
        is_refused(&call().with("Origin", "http://evil.example").send().await, 403, "foreign_origin", &what);
        is_refused(&call().with("Origin", "null").send().await, 403, "foreign_origin", &what);
        denied.extend(vec![(what.clone(), "code=foreign_origin"); 3]);
        let limit = klp::limits::MESSAGE * if route.ends_with("/import") { 2 } else { 1 } + 4096;
        is_refused(&call().body(vec![b' '; limit + 1]).send().await, 413, "too_large", &what);
    }
    is_refused(&api.request("GET", "/v1/nothing").send().await, 404, "no_handler", "no such route");
    is_refused(&api.request("DELETE", "/v1/status").send().await, 405, "no_handler", "another method");
    let broken = api.request("POST", "/v1/grants").with("Content-Type", "application/json").body(b"{".to_vec());
    is_refused(&broken.send().await, 400, "malformed", "broken JSON");
    is_refused(&api.request("POST", "/v1/grants").json(&json!({"x": 1})).send().await, 422, "invalid", "other fields");
    assert_eq!(api.request("GET", "/v1/status").send().await.status, 200, "the node still serves its owner");

    // Each of them is counted; the first twenty of a minute stand in the log, in their order, and nothing else does.
    for code in ["unauthorized", "foreign_origin"] {
        let expected = denied.iter().filter(|(_, denial)| denial.ends_with(code)).count();
        let line = format!("kos_node_refusals_total{{what=\"api\",code=\"{code}\"}}");
        assert_eq!(bob.figure(&line).await, expected as u64, "{code}");
    }
    let log = bob.node.audit.list(Filter { limit: Some(1000), ..Filter::default() }).await.unwrap();
    let log: Vec<_> = log.into_iter().filter(|entry| entry.seq >= before && entry.component != "audit").collect();
    assert!(log.len() >= 20 && log.iter().all(|entry| entry.component == "api"), "nothing was done: {log:?}");
    let written = log.iter().take(20).map(|entry| (entry.subject.clone(), entry.detail.as_str()));
    assert_eq!(written.collect::<Vec<_>>(), denied[..20]);
    api.close().await;
    bob.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn p11_a_path_takes_the_methods_that_are_described_and_no_other() {
    let bob = Person::new(&[]).await;
    let api = Api::open(&bob).await;
    let paths: BTreeSet<&str> = ROUTES.iter().map(|(_, path)| *path).collect();
    for path in paths {
        for method in ["GET", "PUT", "POST", "PATCH", "DELETE", "OPTIONS", "TRACE", "QUERY"] {
            if !ROUTES.contains(&(method, path)) {
                let reply = api.request(method, &filled(path)).send().await;
                is_refused(&reply, 405, "no_handler", &format!("{method} {path}"));
            }
        }
    }
    api.close().await;
    bob.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn p11_what_the_api_describes_is_what_it_answers() {
    let bob = Person::new(&[]).await;
    let api = Api::open(&bob).await;
    for path in ["/healthz", "/readyz"] {
        let reply = api.request("GET", path).without("Authorization").send().await;
        assert_eq!(reply.json, json!({"state": "ok"}), "{path} says no more than that");
    }
    let described = api.request("GET", "/openapi.json").send().await.json;
    let paths: BTreeSet<_> = described["paths"].as_object().unwrap().keys().cloned().collect();
    assert_eq!(paths, ROUTES.iter().map(|(_, path)| (*path).to_owned()).collect());
    for path in ["/v1/status", "/v1/whoami"] {
        let shown = api.request("GET", path).send().await.json;
        let schema =
            described["paths"][path]["get"]["responses"]["200"]["content"]["application/json"]["schema"]["$ref"]
                .as_str()
                .unwrap()
                .rsplit('/')
                .next()
                .unwrap();
        let fields = described["components"]["schemas"][schema]["properties"].as_object().unwrap();
        assert!(fields.keys().eq(shown.as_object().unwrap().keys()), "{path}: {shown}");
    }
    api.close().await;
    bob.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn s28_the_socket_needs_no_token_and_the_token_is_told_to_nobody() {
    let bob = Person::new(&[]).await;
    let api = Api::open(&bob).await;
    let mode = |name: &str| std::fs::metadata(bob.home().join(name)).unwrap().permissions().mode() & 0o777;
    assert_eq!((mode(""), mode("kos.sock"), mode("api-token"), mode("api")), (0o700, 0o600, 0o600, 0o600));
    let url = std::fs::read_to_string(bob.home().join("api")).unwrap();
    assert_eq!(url.trim(), format!("http://{}", api.address));

    let bare = || api.request("GET", "/v1/status").without("Authorization");
    assert_eq!(bare().send_to_socket(&bob.home()).await.status, 200);
    is_refused(&bare().send().await, 401, "unauthorized", "the port");
    for (method, route) in ROUTES {
        if *method == "GET" && *route != "/v1/events" {
            let reply = api.request(method, &filled(route)).send().await;
            assert!(!reply.body.contains(&api.token), "{route}");
        }
    }
    api.close().await;
    bob.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn l1_13_a_stream_of_events_goes_on_after_the_last_one_without_a_gap() {
    let bob = Person::new(&[]).await;
    let api = Api::open(&bob).await;
    let stream = || api.request("GET", "/v1/events?filter=lab.*");
    let say = |numbers: std::ops::Range<u64>| {
        for number in numbers {
            bob.node.bus.say("lab.counted", json!(number));
            bob.node.bus.say("other", Value::Null);
        }
    };
    let number = |event: &Event| event.data["data"].as_u64().unwrap();

    let mut events = stream().events().await;
    // The stream listens from the moment its request is read: say something until it is heard.
    let mut first = None;
    while first.is_none() {
        bob.node.bus.say("lab.ready", Value::Null);
        first = tokio::time::timeout(Duration::from_millis(20), events.next()).await.ok();
    }
    say(0..5);
    let mut last = first.unwrap();
    let mut heard = Vec::new();
    while heard.len() < 3 {
        last = events.next().await;
        if last.name == "lab.counted" {
            heard.push(number(&last));
        }
    }
    assert_eq!(heard, [0, 1, 2]);
    assert_eq!(last.data["id"].as_u64(), last.id);
    drop(events);
    say(5..300);

    let mut events = stream().with("Last-Event-ID", last.id.unwrap().to_string()).events().await;
    for expected in 3..300 {
        assert_eq!(number(&events.next().await), expected);
    }
    drop(events);
    let kept = u64::try_from(KEPT).unwrap();
    say(300..300 + kept);
    let mut events = stream().with("Last-Event-ID", last.id.unwrap().to_string()).events().await;
    let gap = events.next().await;
    assert_eq!((gap.name.as_str(), gap.id), ("gap", None), "what is gone is said");
    assert!(events.next().await.id.unwrap() >= gap.data["oldest"].as_u64().unwrap());

    let wrong = stream().with("Last-Event-ID", "yesterday").send().await;
    is_refused(&wrong, 422, "invalid", "not a number");
    api.close().await;
    bob.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn c3_a_change_is_on_the_stream_within_a_second() {
    let bob = Person::new(&[]).await;
    let api = Api::open(&bob).await;
    // From the beginning: what was before the change is heard first.
    let mut events = api.request("GET", "/v1/events?filter=config.*").with("Last-Event-ID", "0").events().await;
    let begun = Instant::now();
    let set = api.request("PUT", "/v1/config/vault.lock_after_s").json(&json!({"value": 60})).send().await;
    assert_eq!(set.status, 200, "{set:?}");
    let event = events.next().await;
    assert_eq!((event.name.as_str(), &event.data["data"]["key"]), ("config.changed", &json!("vault.lock_after_s")));
    assert!(begun.elapsed() < Duration::from_secs(1), "{:?}", begun.elapsed());
    api.close().await;
    bob.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn p11_however_long_news_of_a_code_are_waited_for_an_answer_comes_within_a_minute() {
    let alice = Person::new(&[]).await;
    let api = Api::open(&alice).await;
    let code = api.request("POST", "/v1/pair").json(&json!({})).send().await.json;
    let begun = Instant::now();
    let path = format!("/v1/pair/{}?wait_s={}", code["mailbox"].as_str().unwrap(), u64::MAX);
    let reply = api.request("GET", &path).send().await;
    assert_eq!((reply.status, &reply.json["state"]), (200, &json!("open")));
    let took = begun.elapsed();
    assert!(took >= Duration::from_secs(30) && took < Duration::from_secs(50), "{took:?}");
    alice.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_answer_streams_in_pieces_and_is_the_same_in_one() {
    let bob = Person::new(&[]).await;
    let page = |number| format!("# Page {number}\n\nThe heron number {number} stands in the reeds.\n");
    let pages: Vec<(String, String)> = (0..5).map(|number| (format!("{number}.md"), page(number))).collect();
    let pages: Vec<(&str, &str)> = pages.iter().map(|(name, text)| (name.as_str(), text.as_str())).collect();
    bob.serve(&bob.documents("birds", &pages), "birds", "private").await;
    let api = Api::open(&bob).await;
    let question = json!({"who": "self/birds", "text": "heron", "args": {"limit": "5"}});
    let ask = || api.request("POST", "/v1/ask").json(&question);

    let mut events = ask().with("Accept", "text/event-stream").events().await;
    let (mut pieces, mut answer) = (0, String::new());
    let done = loop {
        let event = events.next().await;
        match event.name.as_str() {
            "chunk" => {
                pieces += 1;
                answer.push_str(event.data["text"].as_str().unwrap());
            }
            _ => break event,
        }
    };
    assert_eq!((done.name.as_str(), &done.data["answer"]), ("done", &json!(answer)));
    assert!(pieces > 1, "{answer}");
    let whole = ask().send().await;
    assert_eq!((whole.status, &whole.json["answer"], &whole.json["verified"]), (200, &json!(answer), &json!(true)));

    let nobody = json!({"who": "self/nobody", "text": "heron"});
    let refused = api.request("POST", "/v1/ask").with("Accept", "text/event-stream").json(&nobody).send().await;
    assert!(refused.status >= 400 && !refused.refusal().is_empty(), "{refused:?}");
    api.close().await;
    bob.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn s5_a_vault_is_used_through_the_api_and_names_with_slashes_are_names() {
    let bob = Person::new(&[]).await;
    let api = Api::open(&bob).await;
    let secret = "/v1/vaults/main/secrets/mail%2Foffice";
    assert_eq!(api.request("PUT", secret).json(&json!({"value": "geheim \"ü\""})).send().await.status, 200);
    let shown = api.request("GET", secret).send().await.json;
    assert_eq!(shown, json!({"name": "mail/office", "value": "geheim \"ü\""}));
    assert_eq!(api.request("GET", "/v1/vaults/main/secrets").send().await.json, json!(["mail/office"]));

    let file = api.request("POST", "/v1/vaults/main/export").json(&json!({"passphrase": "other"})).send_bytes().await;
    assert!(!file.is_empty() && !file.windows(6).any(|part| part == b"geheim"));
    let data: String = file.iter().map(|byte| format!("{byte:02x}")).collect();
    assert_eq!(api.request("POST", "/v1/vaults/office").json(&json!({"passphrase": "work"})).send().await.status, 200);
    let import = |passphrase: &str| {
        api.request("POST", "/v1/vaults/office/import").json(&json!({"passphrase": passphrase, "data": data.as_str()}))
    };
    is_refused(&import("wrong").send().await, 403, "denied", "a wrong passphrase");
    assert_eq!(import("other").send().await.status, 200);
    let there = api.request("GET", "/v1/vaults/office/secrets/mail%2Foffice").send().await.json;
    assert_eq!(there["value"], shown["value"]);
    assert_eq!(api.request("POST", "/v1/vaults/office/lock").send().await.json["state"], "locked");
    is_refused(&api.request("GET", "/v1/vaults/office/secrets").send().await, 423, "locked", "locked");
    api.close().await;
    bob.stop().await;
}
