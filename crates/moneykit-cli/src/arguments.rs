//! What can be typed.

use std::path::PathBuf;

use clap::{Args, Parser, Subcommand};
use jiff::civil::Date;

/// Looks at links of a MoneyKit-compatible server and refreshes them.
#[derive(Parser)]
#[command(name = "moneykit", version, about)]
pub struct Arguments {
    #[command(flatten)]
    pub server: Server,

    /// Print the server's answer as JSON instead of a table. Shows everything, account numbers included.
    #[arg(long, global = true)]
    pub json: bool,

    #[command(subcommand)]
    pub command: Command,
}

/// Which server, and who asks.
#[derive(Args)]
pub struct Server {
    /// Base URL of the server, for example http://localhost:8080
    #[arg(long, global = true, env = "MONEYKIT_BASE_URL")]
    pub base_url: Option<String>,

    /// Client id
    #[arg(long, global = true, env = "MONEYKIT_CLIENT_ID")]
    pub client_id: Option<String>,

    /// Data directory of `passbook dev`, whose dev.json names server and client
    #[arg(long, global = true, value_name = "DIR", default_value = "./passbook-data")]
    pub data: PathBuf,

    /// Client secret; the environment keeps it out of the list of running processes
    #[arg(long, global = true, env = "MONEYKIT_CLIENT_SECRET", hide_env_values = true)]
    pub client_secret: Option<String>,
}

#[derive(Subcommand)]
pub enum Command {
    /// Print a new access token
    Token,
    /// List links, or show one
    Links {
        #[command(subcommand)]
        command: LinksCommand,
    },
    /// List the accounts of a link
    Accounts {
        /// Link id
        link: String,
    },
    /// List the payment numbers of a link
    Numbers {
        /// Link id
        link: String,
        /// Show full account numbers instead of their last four characters
        #[arg(long)]
        reveal: bool,
    },
    /// Ask the server to fetch products of a link anew
    Refresh(Refresh),
    /// List the transactions of a link, newest first
    Transactions(Transactions),
    /// List events, oldest first
    Events(Events),
    /// Show events as they happen, and send them to an address on this machine, signed like webhooks
    Listen(Listen),
    /// Simulate an event of a sandbox link
    Trigger(Trigger),
    /// Have events sent to their webhooks again
    Replay(Replay),
    /// List institutions
    Institutions {
        /// Whole name or the beginning of it
        name: Option<String>,
        /// Only featured institutions
        #[arg(long)]
        featured: bool,
    },
}

#[derive(Args)]
pub struct Events {
    /// Only those of this link
    #[arg(long)]
    pub link: Option<String>,
    /// Only those whose delivery was given up
    #[arg(long)]
    pub dead: bool,
    /// Only those behind this position
    #[arg(long, value_name = "POSITION")]
    pub after: Option<u64>,
    /// How many to show at most
    #[arg(long, default_value_t = 50, value_parser = clap::value_parser!(u32).range(1..=1000))]
    pub limit: u32,
}

#[derive(Args)]
pub struct Listen {
    /// Where to send them, for example http://localhost:3000/webhooks
    #[arg(long, value_name = "URL")]
    pub forward_to: Option<String>,
    /// Only those of this link
    #[arg(long)]
    pub link: Option<String>,
    /// Begin behind this position instead of now; 0 begins with the oldest event
    #[arg(long, value_name = "POSITION")]
    pub after: Option<u64>,
    /// End after so many events
    #[arg(long, value_name = "N")]
    pub count: Option<u64>,
}

#[derive(Args)]
pub struct Trigger {
    /// link.state_changed, link.product_refresh or transactions.updates_available
    pub event: String,
    /// Link id; without one, the link of `passbook dev`
    #[arg(long)]
    pub link: Option<String>,
}

#[derive(Args)]
#[group(required = true, multiple = true)]
pub struct Replay {
    /// Ids of events
    #[arg(value_name = "EVENT", conflicts_with_all = ["link", "dead"])]
    pub events: Vec<String>,
    /// All events of this link
    #[arg(long)]
    pub link: Option<String>,
    /// All events whose delivery was given up
    #[arg(long)]
    pub dead: bool,
}

#[derive(Subcommand)]
pub enum LinksCommand {
    /// List the active links of the app
    List,
    /// Show one link and how fresh its products are
    Get {
        /// Link id
        link: String,
    },
}

#[derive(Args)]
pub struct Refresh {
    /// Link id
    pub link: String,
    /// Products to fetch
    #[arg(required = true, value_name = "PRODUCT")]
    pub products: Vec<String>,
    /// Wait until all of them are up to date or one failed
    #[arg(long)]
    pub wait: bool,
    /// Seconds to wait at most
    #[arg(long, default_value_t = 120, requires = "wait")]
    pub timeout: u64,
}

#[derive(Args)]
pub struct Transactions {
    /// Link id
    pub link: String,
    /// Only this account (may be repeated)
    #[arg(long = "account", value_name = "ACCOUNT")]
    pub accounts: Vec<String>,
    /// Earliest date, inclusive (YYYY-MM-DD)
    #[arg(long)]
    pub from: Option<Date>,
    /// Latest date, inclusive (YYYY-MM-DD)
    #[arg(long)]
    pub to: Option<Date>,
    /// How many to show at most
    #[arg(long, default_value_t = 50, value_parser = clap::value_parser!(u64).range(1..=1000))]
    pub limit: u64,
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory;

    #[test]
    fn the_command_line_is_consistent() {
        super::Arguments::command().debug_assert();
    }
}
