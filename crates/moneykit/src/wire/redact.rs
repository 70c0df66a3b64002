//! `Debug` that cannot leak: account numbers, tokens and personal data never reach a log by way of `{:?}`.

/// Stands in for a hidden value.
pub(crate) struct Redacted;

impl std::fmt::Debug for Redacted {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter.write_str("[redacted]")
    }
}

/// Implements `Debug` for a struct: `show` fields are printed, `hide` fields appear as `[redacted]`.
///
/// The destructuring is exhaustive, so a new field does not compile until somebody decides which kind it is.
macro_rules! debug_redacted {
    ($name:ident { show: [$($shown:ident),* $(,)?], hide: [$($hidden:ident),* $(,)?] }) => {
        impl std::fmt::Debug for $name {
            fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                let Self { $($shown,)* $($hidden: _,)* } = self;
                formatter
                    .debug_struct(stringify!($name))
                    $( .field(stringify!($shown), $shown) )*
                    $( .field(stringify!($hidden), &$crate::wire::redact::Redacted) )*
                    .finish()
            }
        }
    };
}
pub(crate) use debug_redacted;
