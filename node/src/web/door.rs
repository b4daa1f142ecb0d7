//! Who is let in at the TCP port: our own `Host`, our own `Origin` if any, and the token.

use std::net::{IpAddr, SocketAddr};

use axum::http::header::{AUTHORIZATION, HOST, HeaderName, ORIGIN};
use axum::http::uri::Authority;
use axum::http::{HeaderMap, Uri};
use klp::Refusal;
use subtle::ConstantTimeEq as _;

use super::token::Token;
use crate::fault::Fault;

/// The TCP port's rules.
#[derive(Clone)]
pub(super) struct Door {
    /// The address that is really bound.
    address: SocketAddr,
    token: Token,
}

impl Door {
    pub(super) fn new(address: SocketAddr, token: Token) -> Self {
        Self { address, token }
    }

    /// Whether the request is addressed to us and comes from no other site. Asked before the token, so that a page that rebinds a
    /// name learns nothing at all.
    pub(super) fn same_site(&self, uri: &Uri, headers: &HeaderMap) -> Result<(), Fault> {
        let host = only(headers, &HOST)?.ok_or_else(|| foreign("the request names no host"))?;
        if !self.is_ours(host) {
            return Err(foreign(format!("the request is addressed to {host:?}, which is not this node")));
        }
        if let Some(authority) = uri.authority()
            && !authority.as_str().eq_ignore_ascii_case(host)
        {
            return Err(foreign("the request names two hosts"));
        }
        match only(headers, &ORIGIN)? {
            Some(origin) if !origin.strip_prefix("http://").is_some_and(|site| site.eq_ignore_ascii_case(host)) => {
                Err(foreign(format!("a page of {origin:?} sent this request")))
            }
            _ => Ok(()),
        }
    }

    /// Whether the request carries the token.
    pub(super) fn knows_token(&self, headers: &HeaderMap) -> Result<(), Fault> {
        let given = only(headers, &AUTHORIZATION).ok().flatten().and_then(|value| {
            let (scheme, given) = value.split_once(' ')?;
            scheme.eq_ignore_ascii_case("bearer").then(|| given.trim())
        });
        let known = given.is_some_and(|given| given.as_bytes().ct_eq(self.token.as_bytes()).into());
        if known { Ok(()) } else { Err(Refusal::Unauthorized.into()) }
    }

    /// A loopback name or address with our port; where the port is open to other machines also any plain address, for a page can
    /// only rebind names.
    fn is_ours(&self, host: &str) -> bool {
        let Ok(authority) = host.parse::<Authority>() else { return false };
        if authority.as_str().contains('@') || authority.port_u16().unwrap_or(80) != self.address.port() {
            return false;
        }
        let name = authority.host();
        let bare = name.strip_prefix('[').and_then(|name| name.strip_suffix(']')).unwrap_or(name);
        match bare.parse::<IpAddr>() {
            Ok(ip) => ip.is_loopback() || !self.address.ip().is_loopback(),
            Err(_) => name.eq_ignore_ascii_case("localhost"),
        }
    }
}

/// The header's value when it is there once and readable.
fn only<'h>(headers: &'h HeaderMap, name: &HeaderName) -> Result<Option<&'h str>, Fault> {
    let mut values = headers.get_all(name).iter();
    match (values.next(), values.next()) {
        (None, _) => Ok(None),
        (Some(value), None) => value.to_str().map(Some).map_err(|_| foreign(format!("{name} cannot be read"))),
        _ => Err(foreign(format!("{name} is there twice"))),
    }
}

fn foreign(message: impl Into<String>) -> Fault {
    Fault::new(Refusal::ForeignOrigin, message)
}

#[cfg(test)]
mod tests {
    use super::*;
    use axum::http::HeaderValue;

    const SECRET: &str = "00112233445566778899aabbccddeeff00112233445566778899aabbccddeeff";

    fn door(address: &str) -> Door {
        Door::new(address.parse().expect("address"), Token::parse(SECRET).expect("token"))
    }

    fn headers(pairs: &[(HeaderName, &str)]) -> HeaderMap {
        pairs.iter().map(|(name, value)| (name.clone(), HeaderValue::from_str(value).expect("value"))).collect()
    }

    fn admits(door: &Door, pairs: &[(HeaderName, &str)]) -> bool {
        let mut map = HeaderMap::new();
        for (name, value) in pairs {
            map.append(name.clone(), HeaderValue::from_str(value).expect("value"));
        }
        door.same_site(&Uri::from_static("/v1/status"), &map).is_ok()
    }

    #[test]
    fn s28_only_our_own_host_is_served() {
        let home = door("127.0.0.1:4780");
        for host in ["127.0.0.1:4780", "localhost:4780", "LOCALHOST:4780", "[::1]:4780", "127.9.9.9:4780"] {
            assert!(admits(&home, &[(HOST, host)]), "{host}");
        }
        for host in [
            "evil.example:4780",
            "127.0.0.1",
            "127.0.0.1:80",
            "192.168.1.4:4780",
            "localhost.evil.example:4780",
            "user@localhost:4780",
            "0.0.0.0:4780",
            "",
        ] {
            assert!(!admits(&home, &[(HOST, host)]), "{host}");
        }
        assert!(!admits(&home, &[]), "no host at all");
        assert!(!admits(&home, &[(HOST, "localhost:4780"), (HOST, "localhost:4780")]), "two hosts");

        let open = door("0.0.0.0:4780");
        assert!(admits(&open, &[(HOST, "192.168.1.4:4780")]));
        assert!(!admits(&open, &[(HOST, "evil.example:4780")]), "names can be rebound, also here");
        assert!(admits(&door("127.0.0.1:80"), &[(HOST, "localhost")]));
    }

    #[test]
    fn s28_only_our_own_origin_is_served() {
        let home = door("127.0.0.1:4780");
        let from = |origin: &str| admits(&home, &[(HOST, "localhost:4780"), (ORIGIN, origin)]);
        assert!(from("http://localhost:4780"));
        for origin in [
            "http://evil.example",
            "null",
            "https://localhost:4780",
            "http://localhost",
            "http://localhost:4781",
            "http://localhost:4780.evil.example",
        ] {
            assert!(!from(origin), "{origin}");
        }
        let absolute = Uri::from_static("http://evil.example/v1/status");
        assert!(home.same_site(&absolute, &headers(&[(HOST, "localhost:4780")])).is_err());
    }

    #[test]
    fn s28_the_token_must_be_there_once_and_right() {
        let home = door("127.0.0.1:4780");
        let knows = |value: &str| home.knows_token(&headers(&[(AUTHORIZATION, value)])).is_ok();
        assert!(knows(&format!("Bearer {SECRET}")));
        assert!(knows(&format!("bearer {SECRET}")));
        let wrong = SECRET.replace("00", "01");
        for value in
            [String::new(), SECRET.into(), format!("Basic {SECRET}"), format!("Bearer {wrong}"), "Bearer ".into()]
        {
            assert!(!knows(&value), "{value}");
        }
        assert!(!knows(&format!("Bearer {}", &SECRET[..63])));
        let refused = home.knows_token(&HeaderMap::new()).expect_err("no token");
        assert_eq!(refused.refusal, Refusal::Unauthorized);
    }
}
