//! What every target does.

/// Gives these bytes to the entry of this name.
pub fn drive(name: &str, bytes: &[u8]) {
    let entry = kos_tests::hostile::entry(name).expect("a target is named after its entry");
    (entry.run)(bytes);
}
