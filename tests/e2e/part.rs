//! A long test in parts: the first tier runs a few of them, drawn by the commit.

/// The cases of `WINDLASS_PART=2/4`: every fourth, from the second on. All of them where it is not set.
pub fn of<T>(cases: Vec<T>) -> Vec<T> {
    let Ok(part) = std::env::var("WINDLASS_PART") else {
        return cases;
    };
    let numbers = part
        .split_once('/')
        .and_then(|(part, of)| Some((part.parse().ok()?, of.parse().ok()?)));
    let (part, of): (usize, usize) = numbers.expect("WINDLASS_PART, as in 2/4");
    assert!(1 <= part && part <= of, "WINDLASS_PART={part}/{of}");
    cases.into_iter().skip(part - 1).step_by(of).collect()
}
