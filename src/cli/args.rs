//! The command line: what may be written, with help that teaches by example.

use std::num::NonZeroU32;
use std::path::PathBuf;

use clap::{Args, Parser, Subcommand};
use clap_complete::Shell;

use super::account_args::{KeyCommand, TokenCommand, UserCommand};
use crate::backup::Recipient;
use crate::domain::{
    AppName, Bytes, Capability, Cpus, DeployId, DomainName, HumanDuration, Phase, ProcessName,
};

/// A git-push mini PaaS for one Linux server.
#[derive(Debug, Parser)]
#[command(
    name = "windlass",
    version,
    propagate_version = false,
    arg_required_else_help = true
)]
#[command(after_help = "From nothing to a live app:
  windlass serve &
  windlass app create shop --domain shop.example.com
  git remote add prod <the remote that it prints>
  git push prod main

Exit status: 0 done, 1 the thing asked for failed, 2 wrong usage, 3 the server cannot be reached.")]
pub struct Cli {
    /// Where the server keeps its state and its control socket.
    #[arg(
        long,
        global = true,
        env = "WINDLASS_HOME",
        value_name = "DIR",
        default_value = "/var/lib/windlass"
    )]
    pub home: PathBuf,
    /// What to do.
    #[command(subcommand)]
    pub command: Command,
}

/// The commands.
#[derive(Debug, Subcommand)]
pub enum Command {
    /// Run the server.
    #[command(after_help = "Example:
  windlass serve --home /srv/windlass

It stays in the foreground; SIGTERM stops it. Apps keep serving without it.")]
    Serve,
    /// Create, list, show and destroy apps.
    #[command(subcommand)]
    App(AppCommand),
    /// Set, unset and list an app's environment variables.
    #[command(subcommand)]
    Env(EnvCommand),
    /// List an app's deploys, newest first.
    #[command(after_help = "Example:
  windlass deploys shop --limit 5")]
    Deploys {
        /// Whose deploys.
        name: AppName,
        /// How many at most.
        #[arg(long, value_name = "N", default_value_t = 20, value_parser = clap::value_parser!(u32).range(1..))]
        limit: u32,
        #[command(flatten)]
        output: Output,
    },
    /// Show, follow, await and cancel one deploy.
    #[command(subcommand)]
    Deploy(DeployCommand),
    /// Build and deploy a commit again.
    #[command(after_help = "Examples:
  windlass redeploy shop --wait          the live commit, built again
  windlass redeploy shop 1a2b3c4d5e      any commit of the app's repository")]
    Redeploy(Again),
    /// Go back to an earlier release.
    #[command(after_help = "Examples:
  windlass revert shop --wait            the release before the live one
  windlass revert shop 1a2b3c4d5e        an older one

While its image is kept, a revert needs no build. With --dry-run it says what would happen and does nothing: \
the commits that go away, and the migrations that stay applied.")]
    Revert {
        #[command(flatten)]
        #[allow(missing_docs)]
        again: Again,
        /// Say what would happen, and do nothing.
        #[arg(long, conflicts_with = "wait")]
        dry_run: bool,
    },
    /// Bring the live image up again, with today's environment, by the same swap.
    #[command(after_help = "Example:
  windlass env set shop GREETING=hello
  windlass restart shop --wait")]
    Restart {
        /// Which app.
        name: AppName,
        #[command(flatten)]
        wait: Wait,
        #[command(flatten)]
        output: Output,
    },
    /// Send SIGHUP to an app's main process; gunicorn and others reload their workers.
    #[command(after_help = "Example:
  windlass reload shop")]
    Reload {
        /// Which app.
        name: AppName,
    },
    /// List what runs of an app: its processes, a row a container.
    #[command(after_help = "Examples:
  windlass ps shop
  windlass ps shop --json

What is not of the live release, because a deploy is under way, says what it is: a candidate, or retiring.")]
    Ps {
        /// Which app.
        name: AppName,
        #[command(flatten)]
        output: Output,
    },
    /// Print an app's own output, across its releases.
    #[command(after_help = "Examples:
  windlass logs shop --tail 20
  windlass logs shop --since 10m
  windlass logs shop --follow --process web

Times are UTC. With --json each line is one JSON document.")]
    Logs {
        /// Which app.
        name: AppName,
        /// Stay, and print what comes.
        #[arg(long, short)]
        follow: bool,
        /// Only what is younger than this, as in 10m, 2h or 1d.
        #[arg(long, value_name = "AGE", conflicts_with = "tail")]
        since: Option<HumanDuration>,
        /// How many of the last lines.
        #[arg(long, value_name = "N", default_value_t = 100)]
        tail: usize,
        /// Only what this process prints.
        #[arg(long, short, value_name = "NAME")]
        process: Option<ProcessName>,
        #[command(flatten)]
        output: Output,
    },
    /// Add, list, change and remove users.
    #[command(subcommand)]
    User(UserCommand),
    /// Add, list and remove ssh keys.
    #[command(subcommand)]
    Key(KeyCommand),
    /// Create, list and revoke tokens for programs.
    #[command(subcommand)]
    Token(TokenCommand),
    /// List who did what, newest first, and what was refused.
    #[command(after_help = "Examples:
  windlass audit --limit 50
  windlass audit --app shop --json

Rows are only ever added. Never in it: passwords, tokens, values of variables.")]
    Audit {
        /// Only with this app.
        #[arg(long)]
        app: Option<AppName>,
        /// How many at most.
        #[arg(long, value_name = "N", default_value_t = 20, value_parser = clap::value_parser!(u32).range(1..))]
        limit: u32,
        #[command(flatten)]
        output: Output,
    },
    /// Say who you are here, and what you may do.
    #[command(after_help = "Example:
  ssh git@deploy.example.com whoami          the same, asked with an ssh key: windlass whoami")]
    Whoami {
        #[command(flatten)]
        output: Output,
    },
    /// Check Docker, Caddy, disk, memory, ports and permissions, and say how to mend each.
    #[command(after_help = "Example:
  sudo -u git windlass doctor

It works without the server. Exit status 1 if a check fails; warnings do not count.")]
    Doctor {
        #[command(flatten)]
        output: Output,
    },
    /// Prepare this machine: the user that the server runs as and that pushers reach by ssh, and its service.
    #[command(after_help = "Examples:
  windlass setup --dry-run               says what it would do
  sudo windlass setup
  sudo windlass setup --user deploy --home /srv/windlass

It looks first, does what is missing, and says what it did and what it leaves to you; a second run does nothing. \
The user has the home folder as its home, a shell for the forced command, no password, and the group docker.")]
    Setup(Setup),
    /// Back up the database, repositories, configuration, keys and certificates into one encrypted file.
    #[command(after_help = "Examples:
  windlass backup /backup/windlass.age                     asks for a passphrase, twice
  windlass backup --recipient age1ql3z7hjy54pw3hyw… /backup/windlass-$(date +%F).age
  windlass backup --passphrase-file ~/.windlass-passphrase - | ssh nas 'cat > windlass.age'

It works on the home folder itself, with the server running, stopped or broken. To a recipient (age-keygen makes \
them) no secret has to lie on the server. Not in it: images, logs, and what apps keep in volumes and databases.
Exit status 1 also when something could not be read and is missing in the file; the output says what.")]
    Backup(Backup),
    /// Restore a backup into an empty home folder.
    #[command(after_help = "Examples:
  windlass restore /backup/windlass.age                    asks for the passphrase
  windlass restore --identity key.txt /backup/windlass.age
  ssh nas cat windlass.age | sudo -u git windlass restore --identity key.txt -

All of it is proved before anything is put in place. Then start the server and, where the apps' containers are gone, \
bring each up: windlass redeploy NAME --wait")]
    Restore(Restore),
    /// What git runs in an app's repository.
    #[command(subcommand, hide = true)]
    Hook(HookCommand),
    /// What sshd runs for whoever comes in with an ssh key.
    #[command(
        hide = true,
        after_help = "It stands in .ssh/authorized_keys under the home folder; windlass key add writes it there."
    )]
    Ssh {
        /// The number of that key.
        key: i64,
    },
    /// Print completions for a shell.
    #[command(after_help = "Example:
  windlass completions bash > /etc/bash_completion.d/windlass")]
    Completions {
        /// Which shell.
        shell: Shell,
    },
}

/// `windlass setup`
#[derive(Debug, Args)]
pub struct Setup {
    /// The user that the server is to run as.
    #[arg(long, value_name = "NAME", default_value = "git")]
    pub user: String,
    /// Change nothing, and say what would be done.
    #[arg(long)]
    pub dry_run: bool,
    #[command(flatten)]
    #[allow(missing_docs)]
    pub output: Output,
}

/// `windlass backup …`
#[derive(Debug, Args)]
pub struct Backup {
    /// Where to; '-' is standard output.
    pub file: PathBuf,
    /// Encrypt to this public key; may be given several times.
    #[arg(long, value_name = "AGE1…", conflicts_with = "passphrase_file")]
    pub recipient: Vec<Recipient>,
    /// Encrypt to the public keys in this file, one a line.
    #[arg(long, value_name = "FILE", conflicts_with = "passphrase_file")]
    pub recipients_file: Option<PathBuf>,
    /// Encrypt to the passphrase in this file; else it is taken from WINDLASS_PASSPHRASE, or asked for.
    #[arg(long, value_name = "FILE")]
    pub passphrase_file: Option<PathBuf>,
    /// Replace a file of that name.
    #[arg(long)]
    pub force: bool,
    /// Work in this folder, which needs room for the database or the largest repository [default: run/ in the home folder].
    #[arg(long, value_name = "DIR")]
    pub scratch: Option<PathBuf>,
    #[command(flatten)]
    #[allow(missing_docs)]
    pub output: Output,
}

/// `windlass restore …`
#[derive(Debug, Args)]
pub struct Restore {
    /// Where from; '-' is standard input.
    pub file: PathBuf,
    /// The secret key, in the file that age-keygen made.
    #[arg(long, value_name = "FILE")]
    pub identity: Option<PathBuf>,
    /// The passphrase is in this file; else it is taken from WINDLASS_PASSPHRASE, or asked for.
    #[arg(long, value_name = "FILE")]
    pub passphrase_file: Option<PathBuf>,
    #[command(flatten)]
    #[allow(missing_docs)]
    pub output: Output,
}

/// `windlass app …`
#[derive(Debug, Subcommand)]
pub enum AppCommand {
    /// Create an app, and print the remote to push to.
    #[command(after_help = "Example:
  windlass app create shop --domain shop.example.com --domain www.shop.example.com")]
    Create {
        /// Its name: 1 to 40 of a-z, 0-9 and '-'.
        name: AppName,
        /// A host name it answers to; may be given several times.
        #[arg(long = "domain", value_name = "HOST")]
        domains: Vec<DomainName>,
        #[command(flatten)]
        output: Output,
    },
    /// List every app.
    #[command(after_help = "Example:
  windlass app list --json")]
    List {
        #[command(flatten)]
        output: Output,
    },
    /// Show one app.
    #[command(after_help = "Example:
  windlass app show shop")]
    Show {
        /// Which app.
        name: AppName,
        #[command(flatten)]
        output: Output,
    },
    /// Allow an app more than every app may; its manifest then asks for it.
    #[command(after_help = "Examples:
  windlass app allow shop --memory 2g --cpus 1.5
  windlass app allow shop --capability NET_RAW --capability SYS_NICE
  windlass app allow shop --reset                takes all of it back

What is given takes the place of what was allowed of its kind. It counts from the next deploy on.")]
    Allow {
        /// Which app.
        name: AppName,
        /// Up to so much memory, as in 2g.
        #[arg(long, value_name = "SIZE")]
        memory: Option<Bytes>,
        /// Up to so many processes and threads.
        #[arg(long, value_name = "N")]
        pids: Option<NonZeroU32>,
        /// Up to so many processors, as in 0.5 or 2.
        #[arg(long, value_name = "N")]
        cpus: Option<Cpus>,
        /// This Linux capability; may be given several times.
        #[arg(long = "capability", value_name = "CAP")]
        capabilities: Vec<Capability>,
        /// First take back all that was allowed before.
        #[arg(long)]
        reset: bool,
        #[command(flatten)]
        output: Output,
    },
    /// List an app's domains, or change them; that counts at once, without a deploy.
    #[command(after_help = "Examples:
  windlass app domains shop
  windlass app domains shop --add www.shop.example.com
  windlass app domains shop --add shop.example.org --remove shop.example.com
  windlass app domains blog --add www.example.com --from shop

It takes effect immediately, and costs no visitor a connection. With a Caddy older than 2.8
it loads a configuration, which closes idle connections to every app.")]
    Domains {
        /// Which app.
        name: AppName,
        /// A host name it is to answer to as well; may be given several times.
        #[arg(long, value_name = "HOST")]
        add: Vec<DomainName>,
        /// One it is to answer to no more; may be given several times.
        #[arg(long, value_name = "HOST")]
        remove: Vec<DomainName>,
        /// The app that answers to what is added now: it moves, and no visitor meets neither.
        #[arg(long, value_name = "APP", requires = "add")]
        from: Option<AppName>,
        #[command(flatten)]
        output: Output,
    },
    /// Let everybody see an app's badge and status on the dashboard, or nobody.
    #[command(after_help = "Example:
  windlass app public shop on            /badge/shop.svg and /status/shop.json need no log-in")]
    Public {
        /// Which app.
        name: AppName,
        /// on or off.
        #[arg(value_parser = ["on", "off"])]
        switch: String,
        #[command(flatten)]
        output: Output,
    },
    /// Remove an app with its containers, images, repository, logs and environment.
    #[command(after_help = "Example:
  windlass app destroy shop --yes")]
    Destroy {
        /// Which app.
        name: AppName,
        /// Yes, really.
        #[arg(long)]
        yes: bool,
    },
}

/// `windlass env …`
#[derive(Debug, Subcommand)]
pub enum EnvCommand {
    /// Set variables. They count from the next deploy or restart on.
    #[command(after_help = "Examples:
  windlass env set shop GREETING=hello DEBUG=0
  windlass env set shop - < secrets.env      lines of NAME=value; keeps secrets out of process lists")]
    Set {
        /// Whose.
        name: AppName,
        /// NAME=value; '-' reads such lines from standard input.
        #[arg(required = true, value_name = "K=V")]
        vars: Vec<String>,
    },
    /// Remove variables. They count until the next deploy or restart.
    #[command(after_help = "Example:
  windlass env unset shop GREETING DEBUG")]
    Unset {
        /// Whose.
        name: AppName,
        /// Their names.
        #[arg(required = true, value_name = "K")]
        names: Vec<String>,
    },
    /// List variables; values only with --reveal.
    #[command(after_help = "Example:
  windlass env list shop --reveal")]
    List {
        /// Whose.
        name: AppName,
        /// Show the values too.
        #[arg(long)]
        reveal: bool,
        #[command(flatten)]
        output: Output,
    },
}

/// `windlass deploy …`
#[derive(Debug, Subcommand)]
pub enum DeployCommand {
    /// Show a deploy and where its time went.
    #[command(after_help = "Example:
  windlass deploy show 12")]
    Show {
        /// Its number.
        #[arg(value_parser = deploy_id)]
        id: DeployId,
        #[command(flatten)]
        output: Output,
    },
    /// Print a deploy's log, as the pusher sees it.
    #[command(after_help = "Examples:
  windlass deploy log 12
  windlass deploy log 12 --follow
  windlass deploy log 12 --phase gate:check

With --json each line is one JSON document.")]
    Log {
        /// Its number.
        #[arg(value_parser = deploy_id)]
        id: DeployId,
        /// Only this phase.
        #[arg(long, value_name = "P")]
        phase: Option<Phase>,
        /// Stay until it ends.
        #[arg(long, short)]
        follow: bool,
        #[command(flatten)]
        output: Output,
    },
    /// Wait until a deploy has ended. Exit status 1 if it did not go live.
    #[command(after_help = "Example:
  windlass deploy wait 12 && echo live")]
    Wait {
        /// Its number.
        #[arg(value_parser = deploy_id)]
        id: DeployId,
        #[command(flatten)]
        output: Output,
    },
    /// Stop a deploy; what is live stays so.
    #[command(after_help = "Example:
  windlass deploy cancel 12")]
    Cancel {
        /// Its number.
        #[arg(value_parser = deploy_id)]
        id: DeployId,
    },
}

/// `windlass hook …`
#[derive(Debug, Subcommand)]
pub enum HookCommand {
    /// Refuse a push that moves more refs than can be told of, or names that cannot be shown.
    PreReceive,
    /// Tell the server what was pushed and relay the deploy to the pusher.
    PostReceive,
}

/// What `redeploy` and `revert` take.
#[derive(Debug, Args)]
pub struct Again {
    /// Which app.
    pub name: AppName,
    /// Which commit: its id or the beginning of it, or a branch.
    pub commit: Option<String>,
    #[command(flatten)]
    #[allow(missing_docs)]
    pub wait: Wait,
    #[command(flatten)]
    #[allow(missing_docs)]
    pub output: Output,
}

/// `--wait`
#[derive(Debug, Clone, Copy, Args)]
pub struct Wait {
    /// Follow the deploy to its end. Exit status 1 if it does not go live.
    #[arg(long)]
    pub wait: bool,
}

/// `--json`
#[derive(Debug, Clone, Copy, Args)]
pub struct Output {
    /// Print JSON for programs instead of text for people.
    #[arg(long)]
    pub json: bool,
}

fn deploy_id(text: &str) -> Result<DeployId, String> {
    let id = text.parse().ok().filter(|id| *id > DeployId(0));
    id.ok_or_else(|| {
        "a deploy is named by its number, as in 12; `windlass deploys NAME` lists them".into()
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use clap::CommandFactory;

    fn parse(line: &str) -> Result<Cli, clap::Error> {
        Cli::try_parse_from(line.split(' '))
    }

    #[test]
    fn the_command_line_is_sound() {
        Cli::command().debug_assert();
    }

    #[test]
    fn every_command_teaches_with_an_example() {
        fn check(command: &clap::Command) {
            let leaf = command.get_subcommands().next().is_none();
            let taught = command
                .get_after_help()
                .is_some_and(|help| help.to_string().contains("windlass "));
            assert!(
                !leaf || taught || command.get_name().ends_with("-receive"),
                "{}",
                command.get_name()
            );
            command.get_subcommands().for_each(check);
        }
        check(&Cli::command());
    }

    #[test]
    fn every_command_is_in_the_reference() {
        fn check(command: &clap::Command, path: &str) {
            for sub in command.get_subcommands() {
                let path = format!("{path} {}", sub.get_name());
                let leaf = sub.get_subcommands().next().is_none();
                let told = include_str!("../../docs/commands.md").contains(&format!("`{path}"));
                assert!(!leaf || told, "docs/commands.md lacks `{path}`");
                check(sub, &path);
            }
        }
        check(&Cli::command(), "windlass");
    }

    #[test]
    fn home_may_stand_anywhere() {
        for line in [
            "windlass --home /x app list",
            "windlass app --home /x list",
            "windlass app list --home /x",
            "windlass app list --json --home=/x",
            "windlass deploy log 12 --home /x --follow",
        ] {
            assert_eq!(parse(line).unwrap().home, PathBuf::from("/x"), "{line}");
        }
    }

    #[test]
    fn what_design_promises_parses() {
        for line in [
            "serve",
            "app create shop --domain a.example.com --domain b.example.com",
            "app show shop --json",
            "app allow shop --memory 2g --pids 600 --cpus 1.5 --capability NET_RAW --capability cap_sys_nice",
            "app allow shop --reset --json",
            "app destroy shop --yes",
            "env set shop A=1 B=x=y",
            "env set shop -",
            "env unset shop A B",
            "env list shop --reveal --json",
            "deploys shop --limit 3 --json",
            "deploy show 12 --json",
            "deploy log 12 --phase gate:check --follow",
            "deploy log 12 --phase check",
            "deploy wait 12",
            "deploy cancel 12",
            "redeploy shop",
            "redeploy shop 1a2b3c --wait --json",
            "revert shop main --wait",
            "revert shop --dry-run --json",
            "app public shop on",
            "restart shop --wait --json",
            "reload shop",
            "ps shop --json",
            "logs shop --follow --since 10m",
            "logs shop --tail 0 -f --json",
            "doctor --json",
            "backup /backup/w.age --passphrase-file p --force --scratch /tmp --json",
            "backup - --recipient age1ql3z7hjy54pw3hyww5ayyfg7zqgvc7w3j2elw8zmrj2kg5sfn9aqmcac8p --recipients-file r",
            "restore w.age --identity key.txt --json",
            "restore - --passphrase-file p",
            "hook pre-receive",
            "hook post-receive",
            "ssh 3",
            "setup --user git --dry-run --json",
            "completions zsh",
        ] {
            parse(&format!("windlass {line}")).unwrap_or_else(|error| panic!("{line}: {error}"));
        }
    }

    #[test]
    fn wrong_usage_says_what_is_right_and_exits_2() {
        for (line, says) in [
            ("app create Shop_1", "use 1 to 40 of a-z, 0-9 and '-'"),
            (
                "app create shop --domain https://a.b",
                "without scheme or port",
            ),
            ("app allow shop --memory lots", "as in \"512m\""),
            ("app allow shop --cpus 0", "as in 0.5 or 2"),
            (
                "app allow shop --capability SYS_ADMIN",
                "no capability that an app may have",
            ),
            ("deploy show twelve", "named by its number, as in 12"),
            ("deploy show 0", "named by its number, as in 12"),
            ("logs shop --since 10", "as in \"500ms\", \"10s\" or \"2m\""),
            ("logs shop --since 10m --tail 5", "cannot be used with"),
            ("deploys shop --limit 0", "0 is not in 1.."),
            ("env set shop", "<K=V>"),
            (
                "backup w.age --recipient age1abc",
                "what `age-keygen` prints as public key",
            ),
            (
                "backup w.age --recipients-file r --passphrase-file p",
                "cannot be used with",
            ),
            ("deploy log 12 --phase ../x", "a-z, 0-9"),
            ("frobnicate", "frobnicate"),
        ] {
            let error = parse(&format!("windlass {line}")).unwrap_err();
            assert!(error.to_string().contains(says), "{line}: {error}");
            assert_eq!(error.exit_code(), 2, "{line}");
        }
    }
}
