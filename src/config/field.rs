//! How many values an option has: the kinds of [`Field`].
//!
//! Each pairs a notation with the field of [`Given`] that the option sets. So the parser, the
//! setting and `--print-config` cannot disagree about its type.

use clap::{Arg, ArgAction, ArgMatches};
use toml::Value;

use super::given::Given;
use super::notation::{Notation, PATH};
use super::option::Field;

/// The field that stores an option's value.
type Place<T> = fn(&mut Given) -> &mut T;

/// The traits that clap requires of a value.
pub(super) trait Item: Clone + Send + Sync + 'static {}
impl<T: Clone + Send + Sync + 'static> Item for T {}

/// A flag, which stores the value given here.
pub(super) struct Flag(pub(super) bool, pub(super) Place<bool>);

/// An option with a default, which always has a value.
pub(super) struct One<T: 'static>(pub(super) &'static Notation<T>, pub(super) Place<T>);

/// An option with a default, and with another value that its bare flag stands for.
pub(super) struct Bare<T: 'static>(
    pub(super) &'static Notation<T>,
    pub(super) Place<T>,
    pub(super) &'static str,
);

/// An option that may have a value.
pub(super) struct Maybe<T: 'static>(pub(super) &'static Notation<T>, pub(super) Place<Option<T>>);

/// An option that can be repeated.
pub(super) struct Many<T: 'static>(pub(super) &'static Notation<T>, pub(super) Place<Vec<T>>);

/// An option that can be repeated, and whose values may be separated by commas.
pub(super) struct List<T: 'static>(pub(super) &'static Notation<T>, pub(super) Place<Vec<T>>);

/// A path that is needed before there are settings, by [`load`](super::load), and is not stored.
pub(super) struct Unstored;

impl Field for Flag {
    fn define(&self, arg: Arg) -> Arg {
        arg.action(ArgAction::SetTrue)
    }

    fn is_flag(&self) -> bool {
        true
    }

    fn store(&self, matches: &ArgMatches, name: &str, given: &mut Given) {
        *self.1(given) = matches.get_flag(name) == self.0;
    }

    fn print(&self, given: &mut Given) -> Option<Value> {
        Some(Value::Boolean(*self.1(given) == self.0))
    }
}

impl<T: Item> Field for One<T> {
    fn define(&self, arg: Arg) -> Arg {
        self.0.define(arg)
    }

    fn store(&self, matches: &ArgMatches, name: &str, given: &mut Given) {
        let value = matches.get_one::<T>(name);
        value.expect("an option of this kind has a default").clone_into(self.1(given));
    }

    fn print(&self, given: &mut Given) -> Option<Value> {
        Some((self.0.print)(self.1(given)))
    }
}

impl<T: Item> Field for Bare<T> {
    fn define(&self, arg: Arg) -> Arg {
        self.0.define(arg).num_args(0..=1).default_missing_value(self.2)
    }

    fn bare_value(&self) -> Option<&'static str> {
        Some(self.2)
    }

    fn store(&self, matches: &ArgMatches, name: &str, given: &mut Given) {
        One(self.0, self.1).store(matches, name, given);
    }

    fn print(&self, given: &mut Given) -> Option<Value> {
        One(self.0, self.1).print(given)
    }
}

impl<T: Item> Field for Maybe<T> {
    fn define(&self, arg: Arg) -> Arg {
        self.0.define(arg)
    }

    fn store(&self, matches: &ArgMatches, name: &str, given: &mut Given) {
        *self.1(given) = matches.get_one::<T>(name).cloned();
    }

    fn print(&self, given: &mut Given) -> Option<Value> {
        self.1(given).as_ref().map(self.0.print)
    }
}

impl<T: Item> Field for Many<T> {
    fn define(&self, arg: Arg) -> Arg {
        self.0.define(arg).action(ArgAction::Append)
    }

    fn is_repeatable(&self) -> bool {
        true
    }

    fn store(&self, matches: &ArgMatches, name: &str, given: &mut Given) {
        *self.1(given) = matches.get_many::<T>(name).into_iter().flatten().cloned().collect();
    }

    fn print(&self, given: &mut Given) -> Option<Value> {
        Some(Value::Array(self.1(given).iter().map(self.0.print).collect()))
    }
}

impl<T: Item> Field for List<T> {
    fn define(&self, arg: Arg) -> Arg {
        self.0.define(arg).action(ArgAction::Append).value_delimiter(',')
    }

    fn is_repeatable(&self) -> bool {
        true
    }

    fn store(&self, matches: &ArgMatches, name: &str, given: &mut Given) {
        Many(self.0, self.1).store(matches, name, given);
    }

    fn print(&self, given: &mut Given) -> Option<Value> {
        Many(self.0, self.1).print(given)
    }
}

impl Field for Unstored {
    fn define(&self, arg: Arg) -> Arg {
        PATH.define(arg)
    }

    fn store(&self, _: &ArgMatches, _: &str, _: &mut Given) {}

    fn print(&self, _: &mut Given) -> Option<Value> {
        None
    }
}
