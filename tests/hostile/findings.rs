//! Inputs that once were findings, each with what it did. They are given first, and for ever.

use kos_tests::hostile::entry;

/// Entry, what happened, and the input.
const FINDINGS: &[(&str, &str, &str)] = &[];

#[test]
fn what_was_found_once_is_not_found_again() {
    for (name, what, input) in FINDINGS {
        super::give(entry(name).expect("an entry"), what, &super::unhex(input));
    }
}
