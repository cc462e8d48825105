//! How often somebody may try to log in.
//!
//! Two limits, and the second has a way around it for the owner: by address, and by account. An
//! account under attack from everywhere would be locked for its owner as well; so whoever comes from
//! an address where that account was logged in lately is not counted against the account's limit.

use std::net::IpAddr;
use std::num::NonZeroU32;
use std::time::Duration;

use governor::{DefaultKeyedRateLimiter, Quota, RateLimiter};

/// From one address: so many at once, then one each [`ADDRESS_EVERY`].
const ADDRESS_BURST: u32 = 10;
const ADDRESS_EVERY: Duration = Duration::from_secs(6);
/// For one account from addresses that it does not know: so many at once, then one each
/// [`ACCOUNT_EVERY`].
const ACCOUNT_BURST: u32 = 20;
const ACCOUNT_EVERY: Duration = Duration::from_secs(30);
/// Above so many keys, those that count for nothing any more are dropped.
const MANY: usize = 10_000;

#[derive(Debug)]
pub(super) struct Limits {
    addresses: DefaultKeyedRateLimiter<String>,
    accounts: DefaultKeyedRateLimiter<String>,
}

impl Limits {
    pub(super) fn new() -> Self {
        let quota = |burst: u32, every| {
            let burst = NonZeroU32::new(burst).unwrap_or(NonZeroU32::MIN);
            Quota::with_period(every)
                .unwrap_or(Quota::per_minute(NonZeroU32::MIN))
                .allow_burst(burst)
        };
        Self {
            addresses: RateLimiter::keyed(quota(ADDRESS_BURST, ADDRESS_EVERY)),
            accounts: RateLimiter::keyed(quota(ACCOUNT_BURST, ACCOUNT_EVERY)),
        }
    }

    /// Whether one more try may be made. `known`: the account was logged in from there lately.
    pub(super) fn allow(&self, account: &str, address: &str, known: bool) -> bool {
        for limit in [&self.addresses, &self.accounts] {
            if limit.len() > MANY {
                limit.retain_recent();
            }
        }
        let by_address = self.addresses.check_key(&network(address)).is_ok();
        by_address
            && (known
                || self
                    .accounts
                    .check_key(&account.chars().take(64).collect())
                    .is_ok())
    }
}

/// An address; of the sixth version the network that one customer gets.
fn network(address: &str) -> String {
    match address.parse() {
        Ok(IpAddr::V6(v6)) if v6.to_ipv4_mapped().is_none() => v6.segments()[..4]
            .iter()
            .map(|s| format!("{s:x}:"))
            .collect(),
        _ => address.to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_address_is_held_back_and_the_owner_is_not_locked_out() {
        let limits = Limits::new();
        let tries = |address: &str| {
            (0..30)
                .filter(|_| limits.allow("ann", address, false))
                .count()
        };
        assert_eq!(tries("192.0.2.1"), 10);
        // Many addresses use the account's share up.
        let allowed: usize = (0..50).map(|n| tries(&format!("198.51.100.{n}"))).sum();
        assert_eq!(allowed, 10);
        assert!(!limits.allow("ann", "203.0.113.1", false));
        assert!(
            limits.allow("ann", "203.0.113.2", true),
            "the owner's own address"
        );
        assert!(limits.allow("bob", "203.0.113.3", false), "another account");
        assert_eq!(network("2001:db8::1"), network("2001:db8::ffff:1"));
        assert_ne!(network("2001:db8:0:1::1"), network("2001:db8::1"));
    }
}
