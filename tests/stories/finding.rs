//! Finding agents without a typed address.

use kos_tests::{Hub, Person, until};

const TEXT: &str = "# Beekeeping\n\nA hive needs a second queen in spring.\n";

#[tokio::test(flavor = "multi_thread")]
async fn p5_l1_10_a_stranger_finds_a_listed_agent_through_the_dht_and_never_a_private_one() {
    let hub = Hub::open(9, None).await;
    let flags = ["--bootstrap", hub.address.as_str()];
    let (bob, carol) = (Person::new(&flags).await, Person::new(&flags).await);
    let folder = bob.documents("bees", &[("hive.md", TEXT)]);
    bob.serve(&folder, "bees", "listed").await;
    bob.serve(&folder, "secretbees", "private").await;
    let found = until("the agent is found", async || {
        let rows = carol.node.directory.find("bees", None).await.unwrap();
        (!rows.is_empty()).then_some(rows)
    })
    .await;
    assert_eq!(found.len(), 1);
    assert_eq!((found[0].name.as_str(), found[0].path.as_str()), ("bees", "dht"));
    assert_eq!(found[0].health, "healthy");
    for query in ["secretbees", "queen"] {
        let rows = carol.node.directory.find(query, None).await.unwrap();
        assert!(rows.iter().all(|row| row.name != "secretbees"), "{query}: {rows:?}");
    }
    carol.stop().await;
    bob.stop().await;
    hub.close();
}
