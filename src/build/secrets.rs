//! What of an app's environment a build may mount.

use crate::attempt::Stop;
use crate::domain::{AppName, Environment};

/// The variables that a build may mount, out of the app's environment.
pub fn build_secrets(
    names: &[String],
    app: &AppName,
    env: &Environment,
) -> Result<Environment, Stop> {
    let mut secrets = Environment::default();
    for name in names {
        let Some(value) = env.get(name) else {
            return Err(Stop::NotGood(format!(
                "build.secrets names {name}, and {app} has no variable of that name. To set it: windlass env set {app} {name}=… (or - in place of {name}=…, to read it from standard input)"
            )));
        };
        // Both were checked where they came in.
        let _ = secrets.set(name, value);
    }
    Ok(secrets)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_build_gets_the_variables_that_it_names_and_no_other() {
        let mut env = Environment::default();
        env.set("PIP_TOKEN", "s3cret").unwrap();
        env.set("OTHER", "value").unwrap();
        let app: AppName = "shop".parse().unwrap();
        let given = build_secrets(&["PIP_TOKEN".into()], &app, &env)
            .ok()
            .unwrap();
        assert_eq!(given.assignments(), ["PIP_TOKEN=s3cret"]);
        let refused = build_secrets(&["PIP_TOKEN".into(), "NPM_TOKEN".into()], &app, &env);
        let said = matches!(refused, Err(Stop::NotGood(why)) if why.contains("windlass env set shop NPM_TOKEN="));
        assert!(said);
    }
}
