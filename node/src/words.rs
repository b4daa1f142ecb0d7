//! Six words that stand for a key, for two people to compare by voice.

use klp::Did;

/// The fingerprint of a key in words of the BIP-39 English list.
pub fn of(did: &Did) -> Vec<String> {
    let list = bip39::Language::English.word_list();
    did.fingerprint().iter().map(|number| list[usize::from(*number)].to_owned()).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn s26_a_fingerprint_is_six_words_of_its_key() {
        let [one, other] = [1, 2].map(|seed| of(&klp::SecretKey::from_seed(&[seed; 32]).did()));
        assert_eq!(one.len(), 6);
        assert_ne!(one, other);
    }
}
