//! Files are read as they are meant, and each mistake is named with its line.

use kos_simulations::scenario::{Do, Nat, Scenario, What};

const HOMES: &str = r#"
about = "a test"
[[bootstrap]]
name = "hub"
[[relay]]
name = "ada"
settings = { circuits = 4 }
[[home]]
name = "north"
nat = "port-remapping"
[[node]]
name = "alice"
home = "north"
knows = ["bob"]
[[node]]
name = "bob"
home = "north"
serves = "house"
relays = ["ada"]
"#;

fn parse(steps: &str) -> Result<Scenario, (usize, What)> {
    Scenario::parse("test", &format!("{HOMES}{steps}")).map_err(|mistake| (mistake.line, mistake.what))
}

/// Lines before the steps.
fn before() -> usize {
    HOMES.matches('\n').count()
}

#[test]
fn every_built_in_file_is_a_scenario() {
    let folder = concat!(env!("CARGO_MANIFEST_DIR"), "/scenarios");
    let files = std::fs::read_dir(folder).expect("a folder").filter_map(Result::ok);
    let files: Vec<_> = files.filter(|file| file.path().extension().is_some_and(|end| end == "toml")).collect();
    assert_eq!(files.len(), Scenario::built_in().len(), "every file is built in, and none has a mistake");
    let long: Vec<_> =
        Scenario::built_in().into_iter().filter(Scenario::is_long).map(|scenario| scenario.name).collect();
    assert_eq!(long, ["sleep", "sleep-asking"], "everything else is run when nothing is said");
    let sleep = std::path::Path::new(folder).join("long/sleep-ten-minutes.toml");
    assert!(Scenario::read(&sleep).expect("a scenario").is_long());
    let upnp = std::path::Path::new(folder).join("apart/upnp.toml");
    assert!(Scenario::read(&upnp).expect("a scenario").homes.iter().any(|home| home.upnp));
    for file in files {
        let read = Scenario::read(&file.path()).unwrap_or_else(|error| panic!("{error}"));
        assert_eq!(Some(&read), Scenario::named(&read.name).as_ref());
    }
}

#[test]
fn a_file_is_read_as_it_is_meant() {
    let all = r#"
[[step]]
ask = { from = "alice", to = "bob", within_s = 10 }
[[step]]
ask = { from = "alice", to = "bob", within_s = 10, again = true, refused = "unreachable" }
[[step]]
stream = { from = "alice", to = "bob", within_s = 10 }
[[step]]
kill = "ada"
[[step]]
ends = { or_error = true, within_s = 5 }
[[step]]
cut = { from = ["north"], to = ["hub", "ada"] }
[[step]]
wait = 90
"#;
    let scenario = parse(all).expect("a scenario");
    assert_eq!((scenario.steps.len(), scenario.homes[0].nat), (7, Nat::PortRemapping));
    assert!(matches!(scenario.steps[3].as_ref(), Do::Kill(name) if name.as_ref() == "ada"));
    assert_eq!(scenario.relays[0].settings["circuits"].as_integer(), Some(4));
    let ask = Scenario::parse("x", "about = \"x\"\n[crowd]\nnodes = 7\nlatency_ms = [1, 2]").expect("a scenario");
    let crowd = ask.crowd.expect("a crowd");
    assert_eq!((crowd.nodes, crowd.latency, crowd.seeds, crowd.fault), (7, (1, 2), 5, None));
}

#[test]
fn a_mistake_is_named_with_its_line() {
    let unknown = |kind, name: &str| What::Unknown { kind, name: name.to_owned() };
    for (step, line, what) in [
        ("[[step]]\nask = { from = \"alice\", to = \"carol\", within_s = 1 }", 2, unknown("node", "carol")),
        ("\n\n[[step]]\nkill = \"eve\"", 4, unknown("program", "eve")),
        ("[[step]]\nreaddress = \"bob\"", 2, unknown("place", "bob")),
        ("[[step]]\nkill = \"names\"", 2, unknown("program", "names")),
        ("[[step]]\ncut = { from = [\"north\"], to = [\"bob\"] }", 2, unknown("place", "bob")),
        ("[[step]]\nwatch = \"north\"", 2, unknown("server", "north")),
        (
            "[[step]]\nask = { from = \"bob\", to = \"alice\", within_s = 1 }",
            2,
            What::Silent { asker: "bob".into(), asked: "alice".into() },
        ),
        ("[[step]]\nwait = 0", 1, What::Bound { key: "wait", value: 0, min: 1, max: 3600 }),
        ("[[step]]\nends = { within_s = 1 }", 1, What::Order("no stream is open that could end")),
        ("[[home]]\nname = \"alice\"\nnat = \"open\"\n[[step]]\nwait = 1", 2, What::Twice("alice".into())),
        ("[[home]]\nname = \"Big House\"\nnat = \"open\"\n[[step]]\nwait = 1", 2, What::Name("Big House".into())),
        ("", 1, What::Nothing),
    ] {
        let (found, said) = parse(step).expect_err("a mistake");
        let line = if said == What::Nothing { 1 } else { before() + line };
        assert_eq!((found, said), (line, what), "{step}");
    }
    // What the form says, in the words of the library, with our line.
    for (step, line, word) in [
        ("[[step]]\nask = { from = \"alice\", to = \"bob\" }", 2, "within_s"),
        ("[[step]]\nask = { from = \"alice\", to = \"bob\", within_s = 1, colour = 1 }", 2, "colour"),
        ("[[step]]\ndance = 1", 2, "dance"),
        ("[[step]]\nwait = \"long\"", 2, "u64"),
        ("[[home]]\nname = \"east\"\nnat = \"strange\"", 3, "strange"),
        ("[[step]\nwait = 1", 1, "]"),
        ("[colour]\nx = 1", 1, "colour"),
        ("[crowd]\nnodes = -1", 2, "-1"),
    ] {
        match parse(step).expect_err("a mistake") {
            (found, What::Form(said)) => {
                assert!(said.contains(word), "{step}: {said}");
                assert_eq!(found, before() + line, "{step}: {said}");
            }
            other => panic!("{step}: {other:?}"),
        }
    }
    let crowd = Scenario::parse("x", "about = \"x\"\n[crowd]\nloss = 1001").expect_err("a mistake").to_string();
    assert_eq!(crowd, "line 1: loss is 1001, and must be from 0 to 1000");
    let missing = Scenario::read(std::path::Path::new("no-such-file.toml")).expect_err("a mistake").to_string();
    assert_eq!(missing, "no-such-file.toml cannot be read");
}

#[test]
fn which_routers_let_two_nodes_meet() {
    use Nat::{FullCone, Open, PortRemapping, PortRestricted, Symmetric, UdpBlocked};
    let hard =
        [(Symmetric, Symmetric), (Symmetric, PortRestricted), (Symmetric, PortRemapping), (Symmetric, UdpBlocked)];
    for one in Nat::ALL {
        for other in Nat::ALL {
            let is_hard = hard.contains(&(one, other)) || hard.contains(&(other, one));
            assert_eq!(one.meets(other), !is_hard, "{} {}", one.as_str(), other.as_str());
        }
    }
    assert!(Symmetric.meets(Open) && FullCone.meets(Symmetric) && PortRestricted.meets(UdpBlocked));
}
