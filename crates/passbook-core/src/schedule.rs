//! When links update on their own: some times a day, each at its own minutes, and less often while that fails.
//!
//! Time is cut into slots of equal length. Where a link's slots begin follows from its id, so that the links of a store
//! are spread evenly over a slot and a link keeps its minutes, whoever plans it.

use jiff::{SignedDuration, Timestamp};

use crate::{
    ids::{Derivation, JobId, LinkId},
    link::{Link, LinkState},
    product::{Product, ProductErrorCode, ProductSet},
    tenant::Tenant,
};

/// Most updates a day.
pub const TIMES_PER_DAY_MAX: u32 = 24;
const DAY_SECONDS: i64 = 86_400;
/// The longest pause of a link that keeps failing is this many slots: eight days at four times a day.
const PAUSE_SLOTS_MAX: u32 = 32;

/// How often links update on their own.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Schedule {
    slot_seconds: i64,
}

/// One planned update.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Planned {
    /// The job. It follows from link and slot: whoever plans the same update plans the same job.
    pub job_id: JobId,
    /// When.
    pub due_at: Timestamp,
}

impl Schedule {
    /// `None` for no updates at all.
    #[must_use]
    pub fn new(times_per_day: u32) -> Option<Self> {
        let times = i64::from(times_per_day.min(TIMES_PER_DAY_MAX));
        (times > 0).then(|| Self { slot_seconds: DAY_SECONDS / times })
    }

    /// The update after `now`. Each of `failures` in a row doubles the pause.
    #[must_use]
    pub fn next(
        &self,
        derivation: &Derivation,
        tenant: &Tenant,
        link: &LinkId,
        now: Timestamp,
        failures: u32,
    ) -> Planned {
        let scope = [tenant.app_id.as_str(), link.as_str()];
        let spread = u64::try_from(self.slot_seconds).unwrap_or(1);
        // The remainder is below the length of a slot.
        let offset = (derivation.bits("schedule", &scope, 0) % u128::from(spread)) as i64;
        let pause = 1_u32.checked_shl(failures).unwrap_or(PAUSE_SLOTS_MAX).min(PAUSE_SLOTS_MAX);
        let slot = (now.as_second() - offset).div_euclid(self.slot_seconds) + i64::from(pause);
        let due_at = Timestamp::from_second(slot * self.slot_seconds + offset).unwrap_or(Timestamp::MAX);
        let ordinal = u64::try_from(slot).unwrap_or(0);
        Planned { job_id: JobId::from_bits(derivation.bits("scheduled update", &scope, ordinal)), due_at }
    }

    /// The length of a slot.
    #[must_use]
    pub fn slot(&self) -> SignedDuration {
        SignedDuration::from_secs(self.slot_seconds)
    }
}

impl Link {
    /// What an update by the schedule fetches: data that moves, and only what was fetched before. A product that a
    /// refresh is under way for is left to it, unless it is `job` itself that was cut off.
    #[must_use]
    pub fn products_to_update(&self, job: &JobId) -> ProductSet {
        if self.state != LinkState::Connected {
            return ProductSet::new();
        }
        let moves =
            |product: Product| matches!(product, Product::Accounts | Product::Transactions | Product::Investments);
        let hopeless = |code| matches!(code, ProductErrorCode::NotSupported | ProductErrorCode::NoPermission);
        self.products
            .iter()
            .filter(|(product, record)| {
                moves(**product)
                    && record.refreshed_at.is_some()
                    && record.unavailable.is_none()
                    && record.running_job.as_ref().is_none_or(|running| running == job)
                    && !record.error.as_ref().is_some_and(|fault| hopeless(fault.code))
            })
            .map(|(product, _)| *product)
            .collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{ids::AppId, tenant::Environment};

    fn at(seconds: i64) -> Timestamp {
        Timestamp::from_second(1_767_225_600 + seconds).unwrap()
    }

    fn next(schedule: Schedule, link: u128, seconds: i64, failures: u32) -> Planned {
        let tenant = Tenant { app_id: AppId::from_bits(1), environment: Environment::Live };
        schedule.next(&Derivation::new(b"tests"), &tenant, &LinkId::from_bits(link), at(seconds), failures)
    }

    #[test]
    fn a_link_keeps_its_minutes_and_has_its_share_of_the_day() {
        let schedule = Schedule::new(4).unwrap();
        let mut now = 0;
        let mut due = Vec::new();
        for _ in 0..8 {
            let planned = next(schedule, 7, now, 0);
            assert!(planned.due_at > at(now));
            now = planned.due_at.as_second() - at(0).as_second();
            due.push(now);
        }
        assert!(due[0] <= 21_600);
        assert!(due.windows(2).all(|pair| pair[1] - pair[0] == 21_600), "{due:?}");
    }

    #[test]
    fn whoever_plans_an_update_plans_the_same_job() {
        let schedule = Schedule::new(4).unwrap();
        let first = next(schedule, 7, 0, 0);
        let seconds = first.due_at.as_second() - at(0).as_second();
        assert_eq!(next(schedule, 7, seconds - 1, 0), first);
        assert_ne!(next(schedule, 7, seconds, 0).job_id, first.job_id);
        assert_ne!(next(schedule, 8, 0, 0).job_id, first.job_id);
    }

    #[test]
    fn links_are_spread_over_a_slot() {
        let schedule = Schedule::new(4).unwrap();
        let mut quarters = [0; 4];
        for link in 0..1_000 {
            let second = next(schedule, link, 0, 0).due_at.as_second() - at(0).as_second();
            quarters[usize::try_from((second - 1) / 5_400).unwrap()] += 1;
        }
        assert!(quarters.iter().all(|count| (200..300).contains(count)), "{quarters:?}");
    }

    #[test]
    fn failures_double_the_pause_up_to_a_bound() {
        let schedule = Schedule::new(4).unwrap();
        let due = |failures| next(schedule, 7, 0, failures).due_at.as_second();
        let pause = |failures| (due(failures) - due(0)) / 21_600 + 1;
        assert_eq!([0, 1, 2, 3, 4, 5, 6, 31, 32, 4_000_000_000].map(pause), [1, 2, 4, 8, 16, 32, 32, 32, 32, 32]);
    }

    #[test]
    fn no_times_a_day_is_no_schedule_and_there_are_most_times() {
        assert_eq!(Schedule::new(0), None);
        assert_eq!(Schedule::new(1_000), Schedule::new(TIMES_PER_DAY_MAX));
        assert_eq!(Schedule::new(1).unwrap().slot(), SignedDuration::from_hours(24));
    }
}
