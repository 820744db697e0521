//! Which hosts and addresses an app may reach.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use serde::{Deserialize, Serialize};

/// A host and port that an installation may reach.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct OutgoingRule {
    /// A name, or an address as text. A name is reached at public addresses only, whatever it resolves to; an address is
    /// reached as it stands here, also a private one.
    pub host: String,
    /// The port.
    pub port: u16,
}

/// Whether one of the rules allows a host and port, and how.
pub(crate) fn granted(rules: &[OutgoingRule], host: &str, port: u16) -> Option<Target> {
    let host = host.trim_start_matches('[').trim_end_matches(']').trim_end_matches('.');
    let rule =
        rules.iter().find(|rule| rule.port == port && rule.host.trim_end_matches('.').eq_ignore_ascii_case(host))?;
    Some(match rule.host.parse::<IpAddr>() {
        Ok(address) => Target::Address(address),
        Err(_) => Target::Name(host.to_owned()),
    })
}

/// What may be connected to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Target {
    /// This address, which the owner named.
    Address(IpAddr),
    /// What this name resolves to, as far as it is public.
    Name(String),
}

/// Whether an address is one of the public internet: neither this machine, nor a private network, nor a special purpose
/// (IANA's registries of special-purpose addresses, RFC 6890).
pub(crate) fn is_public(address: IpAddr) -> bool {
    match address {
        IpAddr::V4(address) => is_public_v4(address),
        IpAddr::V6(address) => is_public_v6(address),
    }
}

fn is_public_v4(address: Ipv4Addr) -> bool {
    let [a, b, c, _] = address.octets();
    !(a == 0
        || a == 127
        || address.is_private()
        || address.is_link_local()
        || (a == 100 && (64..128).contains(&b))
        || (a == 192 && b == 0 && (c == 0 || c == 2))
        || (a == 192 && b == 88 && c == 99)
        || (a == 198 && (b == 18 || b == 19))
        || (a == 198 && b == 51 && c == 100)
        || (a == 203 && b == 0 && c == 113)
        || a >= 224)
}

fn is_public_v6(address: Ipv6Addr) -> bool {
    let [a, b, ..] = address.segments();
    // Only 2000::/3 is given out. Addresses that carry one of version 4 would lead there, so none of them counts:
    // 6to4 (2002::/16), Teredo (2001::/32); mapped, compatible and translated ones are outside 2000::/3.
    let given_out = a & 0xe000 == 0x2000;
    let special =
        a == 0x2002 || (a == 0x2001 && b < 0x0200) || (a == 0x2001 && b == 0x0db8) || (a == 0x3fff && b < 0x1000);
    given_out && !special
}

#[cfg(test)]
mod tests {
    use super::*;

    fn rules() -> Vec<OutgoingRule> {
        let rule = |host: &str, port| OutgoingRule { host: host.to_owned(), port };
        vec![rule("api.example.org", 443), rule("127.0.0.1", 8080), rule("::1", 8080)]
    }

    #[test]
    fn only_the_host_and_port_that_were_granted() {
        let name = Some(Target::Name("API.example.org".to_owned()));
        assert_eq!(granted(&rules(), "API.example.org", 443), name);
        assert_eq!(granted(&rules(), "API.example.org.", 443), name);
        assert_eq!(granted(&rules(), "api.example.org", 80), None);
        assert_eq!(granted(&rules(), "example.org", 443), None);
        assert_eq!(granted(&rules(), "api.example.org.evil.example", 443), None);
        assert_eq!(granted(&rules(), "127.0.0.1", 8080), Some(Target::Address(Ipv4Addr::LOCALHOST.into())));
        assert_eq!(granted(&rules(), "[::1]", 8080), Some(Target::Address(Ipv6Addr::LOCALHOST.into())));
        assert_eq!(granted(&rules(), "localhost", 8080), None);
        assert_eq!(granted(&rules(), "0x7f.1", 8080), None);
    }

    #[test]
    fn nothing_private_counts_as_public() {
        for private in [
            "0.0.0.0",
            "10.1.2.3",
            "100.64.0.1",
            "127.0.0.1",
            "127.255.0.1",
            "169.254.169.254",
            "172.16.0.1",
            "192.0.0.8",
            "192.168.1.1",
            "198.18.0.1",
            "224.0.0.1",
            "255.255.255.255",
            "::",
            "::1",
            "::ffff:127.0.0.1",
            "::ffff:8.8.8.8",
            "::127.0.0.1",
            "64:ff9b::7f00:1",
            "100::1",
            "2001::1",
            "2001:db8::1",
            "2002:7f00:1::",
            "fc00::1",
            "fe80::1",
            "ff02::1",
        ] {
            assert!(!is_public(private.parse().unwrap()), "{private}");
        }
        for public in ["8.8.8.8", "100.128.0.1", "172.32.0.1", "192.0.1.1", "2606:4700:4700::1111", "2a00:1450::1"] {
            assert!(is_public(public.parse().unwrap()), "{public}");
        }
    }
}
