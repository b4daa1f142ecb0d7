use super::*;
use store::outbox::State;

fn owner(seed: u8) -> OwnerId {
    OwnerId(klp::SecretKey::from_seed(&[seed; 32]).did())
}

/// Number, whose, how urgent; it may wait for an hour.
fn question(number: u16, owner: OwnerId, priority: Priority) -> Question {
    let mut id = [0; 32];
    id[..2].copy_from_slice(&number.to_be_bytes());
    Question {
        id: Digest(id),
        who: "bob/docs".into(),
        owner,
        to: owner.0,
        agent: Some("docs".into()),
        capability: "ask".into(),
        arguments: [("text".to_owned(), "why?".to_owned())].into(),
        patience: 1000,
        priority,
        queued: Timestamp(u64::from(number)),
        expires: Timestamp(0).after(Duration::from_secs(3600)),
        state: State::Queued,
        order: None,
        changed: Timestamp(0),
        refusal: None,
        message: None,
    }
}

/// An outbox and its clock.
struct World {
    outbox: Outbox,
    start: Instant,
    at: Duration,
}

impl World {
    fn new(questions: &[Question]) -> Self {
        let mut world = Self { outbox: Outbox::default(), start: Instant::now(), at: Duration::ZERO };
        for question in questions {
            world.outbox.enqueue(question, world.now()).expect("room");
            world.outbox.ready(&question.id);
        }
        world
    }

    fn now(&self) -> Now {
        Now { wall: Timestamp(0).after(self.at), tick: self.start + self.at }
    }

    fn pass(&mut self, seconds: u64) {
        self.at += Duration::from_secs(seconds);
    }

    /// The numbers of what is due while nobody has a session.
    fn due(&mut self) -> Vec<u16> {
        let now = self.now();
        numbers(&self.outbox.due(now, |_| false))
    }

    fn again(&mut self, number: u16, away: bool) {
        let now = self.now();
        self.outbox.again(&id(number), away, now, 127);
    }
}

fn id(number: u16) -> Digest {
    question(number, owner(1), Priority::Low).id
}

fn numbers(ids: &[Digest]) -> Vec<u16> {
    ids.iter().map(|id| u16::from_be_bytes([id.0[0], id.0[1]])).collect()
}

#[test]
fn c9_urgent_overtakes_normal_and_low_and_the_older_goes_first_one_at_a_time() {
    let bob = owner(1);
    let rows = [(1, Priority::Low), (2, Priority::Normal), (3, Priority::Urgent), (4, Priority::Normal)];
    let mut world = World::new(&rows.map(|(number, priority)| question(number, bob, priority)));
    let mut seen = Vec::new();
    while let [number] = world.due()[..] {
        assert_eq!(world.due(), [] as [u16; 0], "one at a time");
        seen.push(number);
        world.outbox.over(&id(number));
    }
    assert_eq!(seen, [3, 2, 4, 1]);
}

#[test]
fn c9_urgent_does_not_wait_for_the_end_of_a_long_answer_to_something_less_urgent() {
    let bob = owner(1);
    let mut world = World::new(&[question(1, bob, Priority::Normal)]);
    assert_eq!(world.due(), [1]);
    for (number, priority) in [(2, Priority::Normal), (3, Priority::Urgent)] {
        let now = world.now();
        world.outbox.enqueue(&question(number, bob, priority), now).expect("room");
        assert_eq!(world.due(), [] as [u16; 0], "what is not kept yet is not sent");
        world.outbox.ready(&id(number));
    }
    assert_eq!(world.due(), [3]);
    world.outbox.over(&id(3));
    assert_eq!(world.due(), [] as [u16; 0], "the second waits for the first");
    world.outbox.over(&id(1));
    assert_eq!(world.due(), [2]);
}

#[test]
fn c9_who_is_away_is_tried_more_and_more_rarely_with_all_that_waits_for_them() {
    let (bob, carol) = (owner(1), owner(2));
    let rows = [question(1, bob, Priority::Normal), question(2, bob, Priority::Low), question(3, carol, Priority::Low)];
    let mut world = World::new(&rows);
    assert_eq!(world.due(), [1, 3], "nobody waits for somebody else's absence");
    world.outbox.over(&id(3));
    world.again(1, true);
    let mut tries = Vec::new();
    for second in 1..3600 {
        world.pass(1);
        if world.due() == [1] {
            tries.push(second);
            world.again(1, true);
        }
    }
    let waits: Vec<u64> = tries.windows(2).map(|pair| pair[1] - pair[0]).collect();
    assert_eq!(&waits[..6], [10, 20, 40, 80, 160, 320], "{tries:?}");
    assert_eq!(waits.last(), Some(&LATE.as_secs()));
    // Chance makes it a quarter more or less.
    let now = world.now();
    let wait = |chance| Pause::after(None, now.tick, chance).until - now.tick;
    assert_eq!((wait(0), wait(255)), (SOON.mul_f64(0.75), SOON.mul_f64(1.25)));
}

#[test]
fn c9_who_is_there_again_is_asked_at_once_and_never_in_a_tight_circle() {
    let bob = owner(1);
    let mut world = World::new(&[question(1, bob, Priority::Low)]);
    for _ in 0..5 {
        world.pass(600);
        assert_eq!(world.due(), [1]);
        world.again(1, true);
    }
    assert_eq!(world.due(), [] as [u16; 0]);
    world.outbox.met(&owner(2));
    assert_eq!(world.due(), [] as [u16; 0], "somebody else");
    world.pass(2);
    world.outbox.met(&bob);
    assert_eq!(world.due(), [1]);
    // Who opens one session after the other and lets nothing through is tried once a second, not in a circle.
    world.again(1, true);
    world.outbox.met(&bob);
    assert_eq!(world.due(), [] as [u16; 0]);
    world.pass(BREATH.as_secs());
    assert_eq!(world.due(), [1]);
    // A session over which nothing comes through is no reason to hurry.
    world.again(1, true);
    let there = |world: &mut World| {
        let now = world.now();
        numbers(&world.outbox.due(now, |_| true))
    };
    assert_eq!(there(&mut world), [] as [u16; 0]);
    world.pass(SOON.as_secs());
    assert_eq!(there(&mut world), [1]);
}

#[test]
fn c9_what_fails_for_a_reason_of_its_own_holds_up_nothing_else() {
    let bob = owner(1);
    let mut world = World::new(&[question(1, bob, Priority::Urgent), question(2, bob, Priority::Low)]);
    assert_eq!(world.due(), [1]);
    world.again(1, false);
    assert_eq!(world.due(), [2]);
    world.outbox.over(&id(2));
    world.pass(SOON.as_secs());
    assert_eq!(world.due(), [1]);
}

#[test]
fn c9_what_is_not_sent_in_time_expires_once_and_what_is_under_way_does_not() {
    let bob = owner(1);
    let mut world = World::new(&[question(1, bob, Priority::Urgent), question(2, bob, Priority::Low)]);
    assert_eq!(world.due(), [1]);
    world.pass(3600);
    let now = world.now();
    assert_eq!(numbers(&world.outbox.expire(now)), [2]);
    assert_eq!(numbers(&world.outbox.expire(now)), [] as [u16; 0]);
    world.again(1, true);
    assert_eq!(world.due(), [] as [u16; 0], "it is too late to send it");
    assert_eq!(numbers(&world.outbox.expire(now)), [1]);
}

#[test]
fn c9_every_bound_is_refused_by_name() {
    let refused = |world: &mut World, question: &Question| {
        let now = world.now();
        world.outbox.enqueue(question, now).expect_err("no room")
    };
    let each = u16::try_from(EACH).expect("fits");
    let rows: Vec<Question> = (0..each).map(|number| question(number, owner(1), Priority::Low)).collect();
    let mut world = World::new(&rows);
    assert_eq!(refused(&mut world, &question(each, owner(1), Priority::Urgent)), NoRoom::Each);
    for number in each..u16::try_from(ALL).expect("fits") {
        let (now, seed) = (world.now(), u8::try_from(number / each + 1).expect("fits"));
        world.outbox.enqueue(&question(number, owner(seed), Priority::Low), now).expect("room");
    }
    assert_eq!(refused(&mut world, &question(9999, owner(200), Priority::Urgent)), NoRoom::All);
    world.outbox.over(&id(0));
    let long = |bytes: usize| Question {
        arguments: [("text".to_owned(), "x".repeat(bytes))].into(),
        ..question(9999, owner(200), Priority::Low)
    };
    assert_eq!(refused(&mut world, &long(BYTES)), NoRoom::Bytes);
    for life in [Duration::ZERO, LONGEST + Duration::from_secs(1)] {
        let late = Question { expires: Timestamp(0).after(life), ..question(9999, owner(200), Priority::Low) };
        assert_eq!(refused(&mut world, &late), NoRoom::Deadline);
    }
    let now = world.now();
    world.outbox.enqueue(&long(1000), now).expect("room");
    assert_eq!(world.outbox.len(), ALL);
}
