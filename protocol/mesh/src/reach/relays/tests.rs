use super::*;

fn relay(peer: PeerId, ip: &str) -> Multiaddr {
    format!("/ip4/{ip}/tcp/1/p2p/{peer}").parse().expect("address")
}

fn peers<const N: usize>() -> [PeerId; N] {
    std::array::from_fn(|_| libp2p::identity::Keypair::generate_ed25519().public().to_peer_id())
}

/// Half of the range: no jitter.
fn even() -> u32 {
    u32::MAX / 2
}

fn dialled(steps: &[Step]) -> Vec<PeerId> {
    steps.iter().filter_map(|step| if let Step::Dial(peer, _) = step { Some(*peer) } else { None }).collect()
}

/// Brings a dialled relay to where it holds a place.
fn activate(relays: &mut Relays, peer: PeerId, now: Instant) -> ListenerId {
    assert!(matches!(relays.identified(peer, None), Some(Step::Listen(..))));
    let listener = ListenerId::next();
    relays.asked(peer, listener, now);
    relays.accepted(peer, now);
    listener
}

#[test]
fn k17_a_lost_relay_is_tried_again_later_and_later_but_soon_while_there_is_no_other() {
    let start = Instant::now();
    let [peer] = peers();
    let address = relay(peer, "11.1.0.1");
    let mut relays = Relays::new(vec![address.clone()], start);
    assert_eq!(relays.tick(false, None, start, &mut even), [Step::Dial(peer, address.clone())]);
    assert_eq!(relays.tick(false, None, start, &mut even), []);
    let circuit = address.clone().with(Protocol::P2pCircuit);
    assert_eq!(relays.identified(peer, Some(&address)), Some(Step::Listen(peer, circuit)));
    let listener = ListenerId::next();
    relays.asked(peer, listener, start);
    assert_eq!(relays.active().count(), 0);
    relays.accepted(peer, start);
    assert_eq!(relays.active().collect::<Vec<_>>(), [peer]);
    let broken = Loss::Broken("gone".to_owned());
    assert!(relays.closed(listener, &broken, start, even()));
    assert_eq!(relays.active().count(), 0);
    assert_eq!(relays.shown()[0].lost.as_deref(), Some("gone"));
    let mut now = start;
    for wait in [5, 10, 15, 15, 15] {
        let just_before = now + Duration::from_millis(wait * 1000 - 10);
        assert_eq!(relays.tick(false, None, just_before, &mut even), [], "before {wait} s");
        now += Duration::from_millis(wait * 1000 + 10);
        assert_eq!(dialled(&relays.tick(false, None, now, &mut even)), [peer], "after {wait} s");
        relays.failed(peer, "no answer", now, even());
    }
    relays.changed(now);
    assert_eq!(dialled(&relays.tick(false, None, now, &mut even)), [peer], "at once when the network has changed");
    relays.failed(peer, "not yet", now, even());
    assert_eq!(relays.tick(false, None, now + EAGER / 2, &mut even), []);
    assert_eq!(dialled(&relays.tick(false, None, now + EAGER, &mut even)), [peer], "and soon again");
}

#[test]
fn k17_waits_are_spread_by_half_either_way() {
    for (dice, wait) in [(0, 2500), (u32::MAX / 2, 5000), (u32::MAX, 7500)] {
        assert_eq!(jitter(FIRST, dice).as_millis().div_ceil(10) * 10, wait);
    }
}

#[test]
fn k17_two_places_in_two_networks_and_no_third() {
    let start = Instant::now();
    let [a, b, c, d] = peers();
    let mut relays = Relays::new(Vec::new(), start);
    assert_eq!(relays.tick(false, None, start, &mut even), [], "who can be dialled needs none");
    assert_eq!(relays.tick(true, None, start, &mut even), [Step::Search]);
    assert_eq!(relays.tick(true, None, start, &mut even), [], "the directory is not asked twice at once");
    relays.found([relay(a, "11.1.0.1"), relay(b, "11.1.0.2"), relay(c, "12.1.0.1"), relay(d, "11.1.9.9")], start);
    for seed in 0..50_u32 {
        let mut relays = Relays::new(Vec::new(), start);
        relays.found([relay(a, "11.1.0.1"), relay(b, "11.1.0.2"), relay(c, "12.1.0.1"), relay(d, "11.1.9.9")], start);
        let mut state = seed;
        let mut dice = || {
            state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
            state >> 8
        };
        let chosen = dialled(&relays.tick(true, None, start, &mut dice));
        assert_eq!(chosen.len(), 2, "seed {seed}");
        assert!(chosen.contains(&c), "one of each network, seed {seed}: {chosen:?}");
    }
}

#[test]
fn k17_a_third_place_elsewhere_when_two_are_in_one_network() {
    let start = Instant::now();
    let [a, b, c] = peers();
    let mut relays = Relays::new(vec![relay(a, "11.1.0.1"), relay(b, "11.1.0.2")], start);
    assert_eq!(dialled(&relays.tick(true, None, start, &mut even)), [a, b]);
    relays.found([relay(c, "12.1.0.1")], start);
    assert_eq!(dialled(&relays.tick(true, None, start, &mut even)), [c]);
    let [d] = peers();
    relays.found([relay(d, "13.1.0.1")], start);
    assert_eq!(relays.tick(true, None, start, &mut even), [], "three are enough");
}

#[test]
fn k17_one_that_refuses_is_left_alone_and_another_steps_in() {
    let start = Instant::now();
    let [a, b, c] = peers();
    let mut relays = Relays::new(vec![relay(a, "11.1.0.1")], start);
    assert_eq!(relays.offered([relay(b, "12.1.0.1")], start), []);
    relays.found([relay(c, "13.1.0.1")], start);
    let mut first = dialled(&relays.tick(true, None, start, &mut even));
    assert_eq!(first.remove(0), a, "what the user has named comes first");
    let listener = ListenerId::next();
    relays.identified(a, None);
    relays.asked(a, listener, start);
    relays.closed(listener, &Loss::Refused("full".to_owned()), start, even());
    let next = dialled(&relays.tick(true, None, start, &mut even));
    assert_eq!([first, next].concat().len(), 2, "both others are tried");
    let later = start + REFUSED - Duration::from_secs(1);
    activate(&mut relays, b, start);
    activate(&mut relays, c, start);
    assert_eq!(dialled(&relays.tick(true, None, later, &mut even)), []);
    assert_eq!(dialled(&relays.tick(true, None, start + REFUSED, &mut even)), [a]);
}

#[test]
fn k17_of_two_relays_the_nearer_and_more_faithful_one_is_taken() {
    let start = Instant::now();
    let [near, far, faithless] = peers();
    let all = [relay(near, "11.1.0.1"), relay(far, "12.1.0.1"), relay(faithless, "13.1.0.1")];
    let mut relays = Relays::new(Vec::new(), start);
    relays.found(all, start);
    for (peer, rtt) in [(near, 20), (far, 300), (faithless, 10)] {
        relays.measured(peer, Duration::from_millis(rtt));
    }
    relays.of(faithless).for_each(|relay| relay.trouble = 5);
    // The dice draw each pair once.
    for (one, other, better) in [(0, 1, near), (1, 0, near), (1, 2, far), (0, 2, near)] {
        let mut draws = [one, other].into_iter().cycle();
        let at = relays.next_wanted(true, start, &mut || draws.next().expect("endless")).expect("one");
        assert_eq!(relays.relays[at].peer, better);
    }
}

#[test]
fn k17_places_that_nobody_asked_for_are_given_up_when_we_can_be_dialled() {
    let start = Instant::now();
    let [named, found] = peers();
    let mut relays = Relays::new(vec![relay(named, "11.1.0.1")], start);
    relays.found([relay(found, "12.1.0.1")], start);
    assert_eq!(dialled(&relays.tick(true, None, start, &mut even)).len(), 2);
    activate(&mut relays, named, start);
    let listener = activate(&mut relays, found, start);
    assert_eq!(relays.tick(false, Some(start), start + SETTLED, &mut even), [], "it may not last");
    let later = start + SETTLED + Duration::from_secs(1);
    assert_eq!(relays.tick(false, Some(start), later, &mut even), [Step::Drop(listener)]);
    assert_eq!(relays.active().collect::<Vec<_>>(), [named]);
}

#[test]
fn k17_what_is_known_is_bounded_and_offers_that_ended_are_forgotten() {
    let start = Instant::now();
    let mut relays = Relays::new(Vec::new(), start);
    relays.found((0..1000).map(|_| relay(PeerId::random(), "11.1.0.1")), start);
    assert_eq!(relays.relays.len(), KNOWN);
    let [held, gone] = peers();
    let (ours, theirs) = (relay(held, "12.1.0.1"), relay(gone, "13.1.0.1"));
    assert_eq!(relays.offered([ours.clone(), theirs.clone()], start), []);
    assert_eq!(relays.offered([ours.clone()], start), [], "one that was not used");
    let known: Vec<_> = relays.relays.iter().map(|relay| relay.peer).collect();
    assert!(known.contains(&held) && !known.contains(&gone));
    relays.offered([ours.clone(), theirs], start);
    relays.of(gone).for_each(|relay| relay.enter(Phase::Dialling, start));
    let listener = activate(&mut relays, gone, start);
    assert_eq!(relays.offered([ours], start), [Step::Drop(listener)], "and its place with it");
    relays.of(held).for_each(|relay| relay.enter(Phase::Dialling, start));
    assert_eq!(relays.disconnected(held, start, even()), None, "it held no place yet");
    relays.of(held).for_each(|relay| relay.enter(Phase::Dialling, start));
    let listener = activate(&mut relays, held, start);
    assert_eq!(relays.disconnected(held, start, even()), Some(listener));
}

#[test]
fn k17_nothing_is_waited_for_for_ever() {
    let start = Instant::now();
    let [peer] = peers();
    let mut relays = Relays::new(vec![relay(peer, "11.1.0.1")], start);
    relays.tick(false, None, start, &mut even);
    let late = start + PATIENCE + Duration::from_secs(1);
    assert_eq!(relays.tick(false, None, late, &mut even), []);
    assert_eq!(relays.shown()[0].phase, RelayPhase::Waiting);
    let again = late + HUNGRY;
    assert_eq!(dialled(&relays.tick(false, None, again, &mut even)), [peer]);
    relays.identified(peer, None);
    let listener = ListenerId::next();
    relays.asked(peer, listener, again);
    let later = again + PATIENCE + Duration::from_secs(1);
    assert_eq!(relays.tick(false, None, later, &mut even), [Step::Drop(listener)]);
    relays.tick(false, None, later + HUNGRY, &mut even);
    relays.is_none(peer, later + HUNGRY, even());
    assert_eq!(relays.shown()[0].lost.as_deref(), Some("it does not carry circuits"));
}
