//! The brake on guessing: who has shown how many wrong passwords, and who is therefore not looked at for a while.
//!
//! A plain value that is told the time. Three counts stop three ways to guess: at one person's password from one address, at one person's from many, and at many
//! people's from one. The first is the strictest, so that somebody who guesses at a colleague's password does not soon shut the colleague out who sits
//! elsewhere. Every try is counted before it is judged and taken back if it was right: a hundred at once are no way around.

use std::collections::HashMap;
use std::hash::{BuildHasher, RandomState};
use std::net::{IpAddr, Ipv6Addr};
use std::time::{Duration, Instant};

/// Wrong ones that cost nothing: people mistype.
const FREE: [u32; 3] = [5, 20, 50];
/// The first pause; each further wrong one doubles it, up to the longest.
const FIRST_PAUSE: Duration = Duration::from_secs(5);
const LONGEST_PAUSE: Duration = Duration::from_secs(15 * 60);
/// After so long without one, all is forgotten.
const FORGOTTEN: Duration = Duration::from_secs(60 * 60);
/// Counts in one generation; there are two. Each try that makes new ones takes a hash's time.
const MOST: usize = 30_000;

/// The counts of the last hour or so. Names and addresses are kept as keyed hashes only.
#[derive(Debug, Default)]
pub(crate) struct Guesses {
    keys: RandomState,
    young: HashMap<u64, Count>,
    old: HashMap<u64, Count>,
}

#[derive(Debug, Clone, Copy)]
struct Count {
    tries: u32,
    last: Instant,
}

/// A try that is being judged.
#[derive(Debug)]
pub(crate) struct Guess {
    /// Here, of this name, and from this address; the last is absent where no address is known, so that there is nothing that all of them have in common.
    keys: [Option<u64>; 3],
    last: bool,
}

impl Guess {
    /// Whether it is the last that costs nothing.
    pub(crate) fn is_last(&self) -> bool {
        self.last
    }
}

impl Guesses {
    /// A try of `who`, a member and a name of its, from an address. `None`: it is not to be judged. One that is neither right nor taken back counts as wrong.
    pub(crate) fn begin(&mut self, now: Instant, who: (&str, &str), address: Option<IpAddr>) -> Option<Guess> {
        let address = address.map(whole);
        let keys = [
            Some(self.keys.hash_one((0, who, address))),
            Some(self.keys.hash_one((1, who))),
            address.map(|address| self.keys.hash_one((2, address))),
        ];
        let mut last = false;
        for (key, free) in keys.iter().zip(FREE) {
            let count = key.and_then(|key| self.count(key, now));
            let tries = count.map_or(0, |count| count.tries);
            if let Some(count) = count
                && tries >= free
                && now.saturating_duration_since(count.last) < pause(tries - free)
            {
                return None;
            }
            last |= key.is_some() && tries + 1 == free;
        }
        for key in keys.into_iter().flatten() {
            let tries = self.count(key, now).map_or(0, |count| count.tries);
            self.put(key, Count { tries: tries.saturating_add(1), last: now });
        }
        Some(Guess { keys, last })
    }

    /// It was right: what was wrong before is forgotten, except that the address has tried others.
    pub(crate) fn was_right(&mut self, guess: &Guess) {
        let [here, name, address] = guess.keys;
        for key in [here, name].into_iter().flatten() {
            self.young.remove(&key);
            self.old.remove(&key);
        }
        if let Some(address) = address {
            self.take_back(address);
        }
    }

    /// It was not judged.
    pub(crate) fn was_none(&mut self, guess: &Guess) {
        for key in guess.keys.into_iter().flatten() {
            self.take_back(key);
        }
    }

    fn take_back(&mut self, key: u64) {
        if let Some(count) = self.young.get_mut(&key).or_else(|| self.old.get_mut(&key)) {
            count.tries = count.tries.saturating_sub(1);
        }
    }

    fn count(&self, key: u64, now: Instant) -> Option<&Count> {
        let count = self.young.get(&key).or_else(|| self.old.get(&key))?;
        (now.saturating_duration_since(count.last) < FORGOTTEN).then_some(count)
    }

    fn put(&mut self, key: u64, count: Count) {
        if self.young.len() >= MOST && !self.young.contains_key(&key) {
            self.old = std::mem::take(&mut self.young);
        }
        self.young.insert(key, count);
    }
}

fn pause(more: u32) -> Duration {
    FIRST_PAUSE.saturating_mul(2u32.saturating_pow(more)).min(LONGEST_PAUSE)
}

/// What one party has: an IPv4 address, or the 64 bits of an IPv6 network.
fn whole(address: IpAddr) -> IpAddr {
    match address.to_canonical() {
        IpAddr::V6(v6) => IpAddr::V6(Ipv6Addr::from_bits(v6.to_bits() & (u128::MAX << 64))),
        v4 => v4,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const ALICE: (&str, &str) = ("acme", "alice");

    fn address(last: u8) -> Option<IpAddr> {
        Some(IpAddr::from([192, 0, 2, last]))
    }

    struct World {
        guesses: Guesses,
        now: Instant,
    }

    impl World {
        fn new() -> Self {
            Self { guesses: Guesses::default(), now: Instant::now() }
        }

        fn wrong(&mut self, who: (&str, &str), from: Option<IpAddr>) -> bool {
            self.guesses.begin(self.now, who, from).is_some()
        }

        fn right(&mut self, who: (&str, &str), from: Option<IpAddr>) -> bool {
            let guess = self.guesses.begin(self.now, who, from);
            guess.inspect(|guess| self.guesses.was_right(guess)).is_some()
        }

        fn wait(&mut self, seconds: u64) {
            self.now += Duration::from_secs(seconds);
        }
    }

    #[test]
    fn abuse_37_pauses_double_up_to_a_quarter_of_an_hour() {
        for from in [address(1), None] {
            let mut world = World::new();
            for _ in 0..5 {
                assert!(world.wrong(ALICE, from));
            }
            for pause in [5, 10, 20, 40, 80, 160, 320, 640, 900, 900] {
                assert!(!world.wrong(ALICE, from));
                world.wait(pause - 1);
                assert!(!world.wrong(ALICE, from), "{pause}");
                assert!(!world.right(ALICE, from), "the right one is not looked at either");
                world.wait(1);
                assert!(world.wrong(ALICE, from), "{pause}");
            }
            world.wait(60 * 60);
            for _ in 0..5 {
                assert!(world.wrong(ALICE, from), "all is forgotten");
            }
            assert!(!world.wrong(ALICE, from));
        }
    }

    #[test]
    fn somebody_who_guesses_at_a_colleagues_password_does_not_soon_shut_them_out() {
        let mut world = World::new();
        while world.wrong(ALICE, address(1)) {}
        assert!(world.right(ALICE, address(2)));
        assert!(world.wrong(("acme", "bob"), address(1)), "others at that address are looked at");
        assert!(world.wrong(("globex", "alice"), address(1)), "and others of that name");
    }

    #[test]
    fn abuse_37_many_addresses_are_no_way_around() {
        let mut world = World::new();
        let judged = (0..=255).filter(|last| world.wrong(ALICE, address(*last))).count();
        assert_eq!(judged, 20);
        assert!(world.right(("acme", "bob"), address(1)));
        // A network of IPv6 is one address.
        let mut world = World::new();
        let of_network = |n: u128| Some(IpAddr::V6(Ipv6Addr::from_bits(0x2001_0db8_0000_0001 << 64 | n)));
        assert_eq!((0..100).filter(|n| world.wrong(ALICE, of_network(*n))).count(), 5);
    }

    #[test]
    fn abuse_37_one_address_guesses_at_fifty_people() {
        let mut world = World::new();
        let names: Vec<String> = (0..100).map(|n| format!("user{n}")).collect();
        let judged = names.iter().filter(|name| world.wrong(("acme", name), address(1))).count();
        assert_eq!(judged, 50);
        assert!(world.right(ALICE, address(2)));
        // Unknown addresses are not one address.
        let mut world = World::new();
        assert_eq!(names.iter().filter(|name| world.wrong(("acme", name), None)).count(), 100);
    }

    #[test]
    fn who_was_right_begins_afresh_and_what_was_not_judged_does_not_count() {
        let mut world = World::new();
        for _ in 0..100 {
            for _ in 0..4 {
                assert!(world.wrong(ALICE, None));
            }
            assert!(world.right(ALICE, None));
        }
        for _ in 0..100 {
            let guess = world.guesses.begin(world.now, ALICE, address(1)).unwrap();
            world.guesses.was_none(&guess);
        }
        // An office behind one address: right ones do not use it up.
        for n in 0..200 {
            assert!(world.right(("acme", &format!("user{n}")), address(3)));
        }
        // One who has an account does not clear what they did to others.
        let mut world = World::new();
        for n in 0..50 {
            assert!(world.wrong(("acme", &format!("user{n}")), address(1)));
            if n < 49 {
                assert!(world.right(("acme", "mallory"), address(1)));
            }
        }
        assert!(!world.wrong(("acme", "another"), address(1)));
    }

    #[test]
    fn abuse_37_tries_at_once_are_counted_before_they_are_judged() {
        let mut world = World::new();
        let open: Vec<Guess> = (0..100).filter_map(|_| world.guesses.begin(world.now, ALICE, address(1))).collect();
        assert_eq!(open.len(), 5);
        assert_eq!(open.iter().filter(|guess| guess.is_last()).count(), 1);
        for guess in &open {
            world.guesses.was_none(guess);
        }
        assert!(world.wrong(ALICE, address(1)));
    }

    #[test]
    fn memory_is_bounded() {
        let mut world = World::new();
        for n in 0..60_000_u32 {
            world.wrong(("acme", &n.to_string()), Some(IpAddr::from(n.to_be_bytes())));
        }
        assert!(world.guesses.young.len() <= MOST && world.guesses.old.len() <= MOST);
    }
}
