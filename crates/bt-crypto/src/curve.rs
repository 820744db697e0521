//! P-256 in OpenSSL's terms: the group, keys from seeds, points from bytes.

use std::sync::OnceLock;

use bt_base::label::CREDENTIAL;
use openssl::bn::{BigNum, BigNumContext};
use openssl::ec::{EcGroup, EcKey, EcPoint, EcPointRef, PointConversionForm};
use openssl::nid::Nid;
use openssl::pkey::{Private, Public};
use zeroize::Zeroizing;

use crate::derive::derive_key;
use crate::labelled::NO_TREE;

/// The order n of the group, big endian (SEC 2, section 2.4.2).
pub(crate) const ORDER: [u8; 32] = [
    0xff, 0xff, 0xff, 0xff, 0x00, 0x00, 0x00, 0x00, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xbc, 0xe6, 0xfa,
    0xad, 0xa7, 0x17, 0x9e, 0x84, 0xf3, 0xb9, 0xca, 0xc2, 0xfc, 0x63, 0x25, 0x51,
];

/// Bytes of a compressed point.
pub(crate) const COMPRESSED: usize = 33;
/// Bytes of an uncompressed point.
pub(crate) const UNCOMPRESSED: usize = 65;

/// The group, made once for the process.
pub(crate) fn group() -> &'static EcGroup {
    static GROUP: OnceLock<EcGroup> = OnceLock::new();
    GROUP.get_or_init(|| EcGroup::from_curve_name(Nid::X9_62_PRIME256V1).expect("OpenSSL has P-256"))
}

/// The private scalar that a seed gives for one purpose: the first of the keys derived from the seed under
/// (`CREDENTIAL`, purpose, 0), (`CREDENTIAL`, purpose, 1), ... that lies in 1..n, read big endian.
pub(crate) fn scalar_from_seed(seed: &[u8; 32], purpose: &str) -> Zeroizing<[u8; 32]> {
    (0..=u8::MAX)
        .map(|attempt| derive_key(seed, CREDENTIAL, &NO_TREE, &[purpose.as_bytes(), &[attempt]]))
        .find(|candidate| is_scalar(candidate))
        .expect("256 random strings of 256 bits are not all beyond the group order")
}

fn is_scalar(candidate: &[u8; 32]) -> bool {
    *candidate != [0; 32] && *candidate < ORDER
}

/// The key pair of a private scalar in 1..n.
pub(crate) fn key_from_scalar(scalar: &[u8; 32]) -> EcKey<Private> {
    assert!(is_scalar(scalar), "a private scalar lies in 1..n");
    let build = || {
        let mut number = BigNum::from_slice(scalar)?;
        number.set_const_time();
        let mut point = EcPoint::new(group())?;
        point.mul_generator2(group(), &number, &mut *BigNumContext::new_secure()?)?;
        let key = EcKey::from_private_components(group(), &number, &point);
        number.clear();
        key
    };
    build().expect("OpenSSL builds a key from a valid scalar")
}

/// The public key of a point in SEC1 form, compressed or not; None when the bytes are no point of the curve, or
/// one of the forms that nothing here writes (hybrid, infinity).
pub(crate) fn public_from_bytes(bytes: &[u8]) -> Option<EcKey<Public>> {
    if !matches!((bytes.first(), bytes.len()), (Some(2 | 3), COMPRESSED) | (Some(4), UNCOMPRESSED)) {
        return None;
    }
    let mut context = BigNumContext::new().ok()?;
    let point = EcPoint::from_bytes(group(), bytes, &mut context).ok()?;
    EcKey::from_public_key(group(), &point).ok()
}

/// The compressed form of a point.
pub(crate) fn compressed(point: &EcPointRef) -> [u8; COMPRESSED] {
    encode(point, PointConversionForm::COMPRESSED)
}

/// The uncompressed form of a point.
pub(crate) fn uncompressed(point: &EcPointRef) -> [u8; UNCOMPRESSED] {
    encode(point, PointConversionForm::UNCOMPRESSED)
}

/// The compressed form of a point given by its coordinates, if it lies on the curve.
pub(crate) fn compressed_coordinates(x: &[u8; 32], y: &[u8; 32]) -> Option<[u8; COMPRESSED]> {
    let point = [&[4][..], x, y].concat();
    public_from_bytes(&point).map(|key| compressed(key.public_key()))
}

/// The coordinates of a point in SEC1 form, if it is one.
pub(crate) fn coordinates(bytes: &[u8]) -> Option<([u8; 32], [u8; 32])> {
    let point = uncompressed(public_from_bytes(bytes)?.public_key());
    let (x, y) = point[1..].split_at(32);
    Some((x.try_into().expect("half of 64 bytes"), y.try_into().expect("half of 64 bytes")))
}

fn encode<const N: usize>(point: &EcPointRef, form: PointConversionForm) -> [u8; N] {
    let mut context = BigNumContext::new().expect("OpenSSL gives a number context");
    let bytes = point.to_bytes(group(), form, &mut context).expect("a point of a key has an encoding");
    bytes.try_into().expect("a point that is not at infinity has the size of its form")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::{hex, hex_array};

    #[test]
    fn a_scalar_gives_the_public_key_of_rfc_6979() {
        let key = key_from_scalar(&hex_array("C9AFA9D845BA75166B5C215767B1D6934E50C3DB36E89B127B8A622B120F6721"));
        let expected = "04 60FED4BA255A9D31C961EB74C6356D68C049B8923B61FA6CE669622E60F29FB6
                        7903FE1008B8BC99A41AE9E95628BC64F2F1B20C2D7E9F5177A3C294D4462299";
        assert_eq!(uncompressed(key.public_key()).to_vec(), hex(expected));
        let compressed = compressed(key.public_key());
        assert_eq!(compressed[0], 3);
        let again = public_from_bytes(&compressed).unwrap();
        assert_eq!(uncompressed(again.public_key()).to_vec(), hex(expected));
    }

    #[test]
    fn a_point_survives_its_coordinates() {
        for seed in 1..=4 {
            let bytes = compressed(key_from_scalar(&[seed; 32]).public_key());
            let (x, mut y) = coordinates(&bytes).unwrap();
            assert_eq!(compressed_coordinates(&x, &y), Some(bytes));
            y[31] ^= 1;
            assert_eq!(compressed_coordinates(&x, &y), None, "off the curve");
        }
        assert_eq!(coordinates(&[0; 33]), None);
    }

    #[test]
    fn scalars_end_below_the_order() {
        assert!(!is_scalar(&[0; 32]));
        assert!(!is_scalar(&ORDER));
        assert!(!is_scalar(&[0xff; 32]));
        let mut last = ORDER;
        last[31] -= 1;
        assert!(is_scalar(&last));
    }

    #[test]
    fn bytes_that_are_no_point_are_refused() {
        let good = compressed(key_from_scalar(&[1; 32]).public_key());
        for bytes in [&[][..], &[0], &[0; 33], &good[..32], &[5; 33], &[2; 34]] {
            assert!(public_from_bytes(bytes).is_none(), "{bytes:?}");
        }
        let beyond_the_field = [&[2][..], &[0xff; 32]].concat();
        assert!(public_from_bytes(&beyond_the_field).is_none());
        let full = uncompressed(public_from_bytes(&good).unwrap().public_key());
        for hybrid in [6, 7] {
            assert!(public_from_bytes(&[&[hybrid][..], &full[1..]].concat()).is_none(), "hybrid form {hybrid}");
        }
    }
}
