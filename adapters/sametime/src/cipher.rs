//! The ciphers of the protocol: RC2 in CBC mode under keys of 40 or 128 bits, and a Diffie-Hellman exchange in a group of 512 bits.
//!
//! They are obfuscation and nothing more: the group is small, nothing is authenticated, the initialisation vector is constant, the 40-bit keys travel
//! in the clear. What keeps a password secret is TLS, or the network (the link's setting `plain_networks`).

use cbc::cipher::{BlockDecryptMut, BlockEncryptMut, InnerIvInit};
use num_bigint::BigUint;
use rc2::Rc2;

use crate::codec::Malformed;

/// The initialisation vector at the beginning of every login and of every direction of every channel.
const IV: [u8; 8] = [0x01, 0x23, 0x45, 0x67, 0x89, 0xab, 0xcd, 0xef];
const BLOCK: usize = 8;
/// RFC 2268 §2: the effective key length, whatever the key's own.
const EFFECTIVE_BITS: usize = 1_024;

/// Bytes of the modulus, and of a public key of ours.
pub const KEY: usize = 64;

const MODULUS: [u8; KEY] = [
    0xcf, 0x84, 0xaf, 0xce, 0x86, 0xdd, 0xfa, 0x52, 0x7f, 0x13, 0x6d, 0x10, 0x35, 0x75, 0x28, 0xee, 0xfb, 0xa0, 0xaf, 0xef, 0x80,
    0x8f, 0x29, 0x17, 0x4e, 0x3b, 0x6a, 0x9e, 0x97, 0x00, 0x01, 0x71, 0x7c, 0x8f, 0x10, 0x6c, 0x41, 0xc1, 0x61, 0xa6, 0xce, 0x91,
    0x05, 0x7b, 0x34, 0xda, 0x62, 0xcb, 0xb8, 0x7b, 0xfd, 0xc1, 0xb3, 0x5c, 0x1b, 0x91, 0x0f, 0xea, 0x72, 0x24, 0x9d, 0x56, 0x6b,
    0x9f,
];
const BASE: u32 = 3;

/// One direction of a channel, encrypting: each message goes on where the one before it ended.
pub struct Encryptor(cbc::Encryptor<Rc2>);

/// One direction of a channel, decrypting.
pub struct Decryptor(cbc::Decryptor<Rc2>);

impl Encryptor {
    /// Begins with a key of 1 to 128 bytes.
    #[must_use]
    pub fn new(key: &[u8]) -> Self {
        Self(cbc::Encryptor::inner_iv_init(Rc2::new_with_eff_key_len(key, EFFECTIVE_BITS), &IV.into()))
    }

    /// Encrypts a message. The padding is 1 to 8 bytes, each holding its length.
    #[must_use]
    pub fn encrypt(&mut self, plain: &[u8]) -> Vec<u8> {
        let pad = BLOCK - plain.len() % BLOCK;
        let mut bytes = plain.to_vec();
        bytes.resize(plain.len() + pad, u8::try_from(pad).unwrap_or_default());
        for block in bytes.chunks_exact_mut(BLOCK) {
            self.0.encrypt_block_mut(block.into());
        }
        bytes
    }
}

impl Decryptor {
    /// Begins with a key of 1 to 128 bytes.
    #[must_use]
    pub fn new(key: &[u8]) -> Self {
        Self(cbc::Decryptor::inner_iv_init(Rc2::new_with_eff_key_len(key, EFFECTIVE_BITS), &IV.into()))
    }

    /// Decrypts a message.
    ///
    /// # Errors
    /// [`Malformed`], when its length is no positive multiple of 8 or the padding is none: a wrong key, mostly. Nothing more can be decrypted then.
    pub fn decrypt(&mut self, cipher: &[u8]) -> Result<Vec<u8>, Malformed> {
        let wrong = Malformed { expected: "whole blocks with padding" };
        if cipher.is_empty() || !cipher.len().is_multiple_of(BLOCK) {
            return Err(wrong);
        }
        let mut bytes = cipher.to_vec();
        for block in bytes.chunks_exact_mut(BLOCK) {
            self.0.decrypt_block_mut(block.into());
        }
        let pad = bytes.last().copied().map_or(0, usize::from);
        if !(1..=BLOCK).contains(&pad) {
            return Err(wrong);
        }
        bytes.truncate(bytes.len() - pad);
        Ok(bytes)
    }
}

/// A Diffie-Hellman key pair. Its `Debug` shows nothing of it.
pub struct KeyPair {
    private: BigUint,
    public: [u8; KEY],
}

impl std::fmt::Debug for KeyPair {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("KeyPair(..)")
    }
}

impl KeyPair {
    /// From 64 random bytes.
    #[must_use]
    pub fn new(random: &[u8; KEY]) -> Self {
        let private = BigUint::from_bytes_be(random);
        let public = to_bytes(&BigUint::from(BASE).modpow(&private, &modulus()));
        Self { private, public }
    }

    /// To be sent. Always 64 bytes: a shorter one, its leading zero left out, would make clients fall back to the weaker login.
    #[must_use]
    pub fn public(&self) -> &[u8; KEY] {
        &self.public
    }

    /// The key that is shared with whoever has sent this public key; `None` for one that is none, or makes the secret known to everybody.
    #[must_use]
    pub fn shared(&self, other: &[u8]) -> Option<[u8; 16]> {
        if other.len() > KEY {
            return None;
        }
        let (other, modulus) = (BigUint::from_bytes_be(other), modulus());
        let one = BigUint::from(1_u32);
        if other <= one || other >= modulus.clone() - one {
            return None;
        }
        let shared = to_bytes(&other.modpow(&self.private, &modulus));
        shared.last_chunk::<16>().copied()
    }
}

fn modulus() -> BigUint {
    BigUint::from_bytes_be(&MODULUS)
}

/// Padded on the left.
fn to_bytes(number: &BigUint) -> [u8; KEY] {
    let mut bytes = [0; KEY];
    for (place, byte) in bytes.iter_mut().rev().zip(number.to_bytes_le()) {
        *place = byte;
    }
    bytes
}

/// RC2/40, its key beside it.
pub const AUTH_RC2_40: u16 = 2;
/// RC2/128, its key by Diffie-Hellman.
pub const AUTH_RC2_128: u16 = 4;

/// The password in a login.
///
/// # Errors
/// [`Malformed`], when it cannot be opened, is not of type 2 or 4, or does not repeat the number that the server gave for this connection: then it was
/// recorded on another.
pub fn open_login(auth_type: u16, auth_data: &[u8], own: &KeyPair, magic: u32) -> Result<String, Malformed> {
    let mut from = crate::codec::Reader::new(auth_data);
    let password = match auth_type {
        AUTH_RC2_40 => {
            let key = from.opaque("a key")?;
            if !(1..=128).contains(&key.len()) {
                return Err(Malformed { expected: "a key of 5 bytes" });
            }
            Decryptor::new(key).decrypt(from.opaque("an encrypted password")?)?
        }
        AUTH_RC2_128 => {
            from.u16("a version")?;
            let key = own.shared(from.opaque("a public key")?).ok_or(Malformed { expected: "a public key" })?;
            let plain = Decryptor::new(&key).decrypt(from.opaque("an encrypted password")?)?;
            let mut plain = crate::codec::Reader::new(&plain);
            if plain.u32("the number to repeat")? != magic {
                return Err(Malformed { expected: "the number of this connection" });
            }
            plain.string("a password")?.as_bytes().to_vec()
        }
        _ => return Err(Malformed { expected: "authentication of type 2 or 4" }),
    };
    Ok(String::from_utf8_lossy(&password).into_owned())
}

/// What a client would send as its login of type 4.
#[must_use]
pub fn seal_login(password: &str, own: &KeyPair, server: &[u8], magic: u32) -> Option<Vec<u8>> {
    let mut plain = crate::codec::Writer::default();
    plain.u32(magic).string(&password.into());
    let cipher = Encryptor::new(&own.shared(server)?).encrypt(&plain.finish());
    let mut to = crate::codec::Writer::default();
    to.u16(1).opaque(own.public()).opaque(&cipher);
    Some(to.finish())
}
