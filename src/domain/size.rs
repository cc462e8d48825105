//! Sizes as people read them: `312 MiB`, `1.2 GiB`.

/// A number of bytes, with one decimal below ten of its unit.
pub fn show(bytes: u64) -> String {
    const UNITS: [&str; 5] = ["KiB", "MiB", "GiB", "TiB", "PiB"];
    if bytes < 1024 {
        return format!("{bytes} B");
    }
    let mut unit = 0;
    while unit + 1 < UNITS.len() && bytes >> (10 * (unit + 2)) > 0 {
        unit += 1;
    }
    let shift = 10 * (unit + 1);
    let (whole, tenth) = (bytes >> shift, ((bytes >> (shift - 10)) & 1023) * 10 / 1024);
    match (whole, tenth) {
        (0..10, 1..) => format!("{whole}.{tenth} {}", UNITS[unit]),
        _ => format!("{whole} {}", UNITS[unit]),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_have_one_decimal_below_ten() {
        let shown = [0, 1023, 1024, 1536, 10_700, 1 << 20, (5 << 30) + (1 << 29), u64::MAX].map(show);
        assert_eq!(shown, ["0 B", "1023 B", "1 KiB", "1.5 KiB", "10 KiB", "1 MiB", "5.5 GiB", "16383 PiB"]);
    }
}
