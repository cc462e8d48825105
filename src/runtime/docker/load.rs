//! What a container takes of the machine right now.

use std::time::Duration;

use bollard::models::{ContainerCpuStats, ContainerMemoryStats};
use bollard::query_parameters::StatsOptionsBuilder;
use futures_util::StreamExt;

use super::{Docker, within};
use crate::runtime::Load;

/// The engine measures for a second; one that does not answer in three says nothing.
const LIMIT: Duration = Duration::from_secs(3);

impl Docker {
    /// What a running container takes. None where the engine does not tell soon.
    pub async fn load(&self, name: &str) -> Option<Load> {
        // Without a stream, and not in one shot: then the engine gives two measurements, a second apart.
        let options = StatsOptionsBuilder::default()
            .stream(false)
            .one_shot(false)
            .build();
        let mut stats = std::pin::pin!(self.docker.stats(name, Some(options)));
        let first = async { Ok(stats.next().await) };
        let stats = within(LIMIT, first).await.ok()??.ok()?;
        let cpu = cpu(
            &stats.precpu_stats.unwrap_or_default(),
            &stats.cpu_stats.unwrap_or_default(),
        );
        let (memory, memory_limit) = memory(&stats.memory_stats.unwrap_or_default());
        Some(Load {
            cpu,
            memory,
            memory_limit,
        })
    }
}

/// Percent of one processor between two measurements.
fn cpu(before: &ContainerCpuStats, now: &ContainerCpuStats) -> f64 {
    let used =
        |stats: &ContainerCpuStats| stats.cpu_usage.as_ref().and_then(|usage| usage.total_usage);
    let grown = |before: Option<u64>, now: Option<u64>| Some(now?.saturating_sub(before?));
    let processors = f64::from(now.online_cpus.unwrap_or(1).max(1));
    match (
        grown(used(before), used(now)),
        grown(before.system_cpu_usage, now.system_cpu_usage),
    ) {
        (Some(own), Some(all)) if all > 0 => own as f64 * processors * 100.0 / all as f64,
        _ => 0.0,
    }
}

/// As `docker stats` has it: what is used but for the cache that the kernel gives back when it must.
fn memory(stats: &ContainerMemoryStats) -> (u64, Option<u64>) {
    let named = |name: &str| stats.stats.as_ref()?.get(name).copied();
    let cache = named("inactive_file")
        .or_else(|| named("total_inactive_file"))
        .unwrap_or(0);
    // Without a limit of its own the engine tells the machine's memory, or a number beyond all.
    let limit = stats.limit.filter(|limit| *limit < 1 << 50);
    (stats.usage.unwrap_or(0).saturating_sub(cache), limit)
}

#[cfg(test)]
mod tests {
    use super::*;
    use bollard::models::ContainerCpuUsage;

    fn at(own: u64, all: u64) -> ContainerCpuStats {
        ContainerCpuStats {
            cpu_usage: Some(ContainerCpuUsage {
                total_usage: Some(own),
                ..Default::default()
            }),
            system_cpu_usage: Some(all),
            online_cpus: Some(2),
            ..Default::default()
        }
    }

    #[test]
    fn a_share_is_of_one_processor_and_caches_are_not_memory() {
        assert_eq!(cpu(&at(100, 1000), &at(600, 2000)), 100.0);
        assert_eq!(cpu(&at(100, 1000), &at(100, 1000)), 0.0);
        assert_eq!(
            cpu(&at(100, 1000), &at(0, 900)),
            0.0,
            "a container that began anew"
        );
        assert_eq!(cpu(&ContainerCpuStats::default(), &at(5, 5)), 0.0);
        let stats = [("inactive_file".to_owned(), 30)].into_iter().collect();
        let told = ContainerMemoryStats {
            usage: Some(100),
            limit: Some(u64::MAX),
            stats: Some(stats),
            ..Default::default()
        };
        assert_eq!(memory(&told), (70, None));
        assert_eq!(memory(&ContainerMemoryStats::default()), (0, None));
    }
}
