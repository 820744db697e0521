//! Header fields as they cross the channel.

use http::{HeaderMap, HeaderName, HeaderValue, StatusCode, header};

use crate::limits::{HEADERS, HEADERS_SIZE};
use crate::protocol::Fields;

/// Fields that belong to a connection, or decide where a message ends: never an app's to set.
const OF_THE_CONNECTION: [HeaderName; 7] = [
    header::CONNECTION,
    header::TE,
    header::TRAILER,
    header::TRANSFER_ENCODING,
    header::UPGRADE,
    HeaderName::from_static("keep-alive"),
    HeaderName::from_static("proxy-connection"),
];

/// The fields as a list.
pub(crate) fn listed(map: &HeaderMap) -> Fields {
    map.iter().map(|(name, value)| (name.as_str().to_owned(), value.as_bytes().to_vec())).collect()
}

/// The fields as a map, without those of the connection.
///
/// # Errors
/// When they are not what HTTP allows, or too many.
pub(crate) fn checked(fields: Fields) -> Result<HeaderMap, &'static str> {
    let size: usize = fields.iter().map(|(name, value)| name.len() + value.len()).sum();
    if fields.len() > HEADERS || size > HEADERS_SIZE {
        return Err("its header fields are too many or too large");
    }
    let mut map = HeaderMap::with_capacity(fields.len());
    for (name, value) in fields {
        let name =
            HeaderName::from_bytes(name.as_bytes()).map_err(|_| "a header field has a name that none may have")?;
        let value = HeaderValue::from_maybe_shared(bytes::Bytes::from(value))
            .map_err(|_| "a header field has a value that none may have")?;
        if !OF_THE_CONNECTION.contains(&name) {
            map.append(name, value);
        }
    }
    Ok(map)
}

/// The status, if it is one that ends a request.
///
/// # Errors
/// When it is not: 1xx announce another response, 101 would make the connection something else.
pub(crate) fn status(status: u16) -> Result<StatusCode, &'static str> {
    match StatusCode::from_u16(status) {
        Ok(code) if (200..600).contains(&status) => Ok(code),
        _ => Err("its status is not between 200 and 599"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn field(name: &str, value: &str) -> (String, Vec<u8>) {
        (name.to_owned(), value.as_bytes().to_vec())
    }

    #[test]
    fn fields_of_the_connection_are_left_out() {
        let map = checked(vec![
            field("transfer-encoding", "chunked"),
            field("Upgrade", "h2c"),
            field("X", "1"),
            field("x", "2"),
        ]);
        assert_eq!(listed(&map.unwrap()), [field("x", "1"), field("x", "2")]);
    }

    #[test]
    fn what_would_split_a_response_is_refused() {
        assert!(checked(vec![field("x", "1\r\nset-cookie: a=b")]).is_err());
        assert!(checked(vec![field("x:y", "1")]).is_err());
        assert!(checked(vec![field("x", &"1".repeat(HEADERS_SIZE))]).is_err());
        assert!(checked(vec![field("x", "1"); HEADERS + 1]).is_err());
        assert!(status(101).is_err() && status(600).is_err() && status(0).is_err() && status(599).is_ok());
    }
}
