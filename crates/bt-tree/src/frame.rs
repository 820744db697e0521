//! Files that are lists of records: each record led by its length in four bytes, little-endian.

use bt_base::codec::DecodeError;

/// Appends one record to the bytes of a list.
pub(crate) fn push(list: &mut Vec<u8>, record: &[u8]) {
    let len = u32::try_from(record.len()).expect("records are far smaller than 4 GiB");
    list.extend_from_slice(&len.to_le_bytes());
    list.extend_from_slice(record);
}

/// Takes a list apart; `limit` bounds the records, not their bytes, which the caller has in memory already.
pub(crate) fn split<'a>(what: &'static str, mut list: &'a [u8], limit: usize) -> Result<Vec<&'a [u8]>, DecodeError> {
    let mut records = Vec::new();
    while !list.is_empty() {
        if records.len() == limit {
            return Err(DecodeError::malformed(what, format!("more than {limit} records")));
        }
        let cut = || DecodeError::malformed(what, format!("record {} is cut short", records.len()));
        let (len, rest) = list.split_first_chunk().ok_or_else(cut)?;
        let (record, rest) = rest.split_at_checked(u32::from_le_bytes(*len) as usize).ok_or_else(cut)?;
        records.push(record);
        list = rest;
    }
    Ok(records)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_list_comes_apart_into_its_records() {
        let mut list = Vec::new();
        push(&mut list, b"one");
        push(&mut list, b"");
        push(&mut list, b"three");
        assert_eq!(split("list", &list, 3), Ok(vec![&b"one"[..], b"", b"three"]));
        assert!(split("list", &list, 2).is_err());
        assert_eq!(split("list", &[], 0), Ok(vec![]));
    }

    #[test]
    fn a_list_cut_inside_a_record_is_refused() {
        let mut list = Vec::new();
        push(&mut list, b"one");
        push(&mut list, b"two");
        for len in (1..list.len()).filter(|len| *len != 7) {
            assert!(split("list", &list[..len], 9).is_err(), "{len} bytes were accepted");
        }
    }
}
