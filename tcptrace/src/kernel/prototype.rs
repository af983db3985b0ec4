//! Compares what a hook relies on with the running kernel's types, before it is loaded.

use super::{
    btf::{Btf, Parameter, Prototype},
    hook::{Argument, Attach, Hook},
    offsets,
    refusal::Refusal,
};
use tcptrace_common::ABSENT;

/// Whether the hook can be what its program expects. Errors: which field, argument or return value is another one here,
/// or that there is no such place.
pub(crate) fn check(btf: &Btf, hook: &Hook) -> Result<(), Refusal> {
    if let Some(field) = hook
        .fields
        .iter()
        .find(|field| offsets::offset(btf, **field) == ABSENT)
    {
        return Err(offsets::no_field(*field));
    }
    let prototype = match hook.attach {
        Attach::ClassicTracepoint | Attach::Cgroup => return Ok(()),
        Attach::TpBtf => btf.tracepoint(hook.target),
        Attach::Fentry | Attach::Fexit => btf.function(hook.target),
    };
    let difference = match prototype {
        None => Some("this kernel has none".to_owned()),
        Some(prototype) => difference(&prototype, hook),
    };
    match difference {
        None => Ok(()),
        Some(error) => Err(Refusal::System {
            action: format!("attach to {} {}", hook.attach.name(), hook.target),
            error,
        }),
    }
}

/// A sentence on the first difference between hook and kernel.
fn difference(prototype: &Prototype, hook: &Hook) -> Option<String> {
    for (index, wanted) in hook.arguments.iter().enumerate() {
        let number = index + 1;
        match prototype.parameters.get(index) {
            None => return Some(format!("it has no argument {number} on this kernel")),
            Some(found) if !fits(found, *wanted) => {
                return Some(format!("its argument {number} is not a {wanted} on this kernel"));
            }
            Some(_) => {}
        }
    }
    let returns = hook.returns?;
    let count = prototype.parameters.len();
    if !(returns.least..=returns.most).contains(&count) {
        return Some(format!("it takes {count} arguments on this kernel"));
    }
    (!fits(&prototype.returns, returns.what))
        .then(|| format!("it does not return a {} on this kernel", returns.what))
}

fn fits(found: &Parameter, wanted: Argument) -> bool {
    match (wanted, found) {
        (Argument::Any, _) => true,
        (Argument::To(wanted), Parameter::PointerTo(name)) => name == wanted,
        (Argument::Number(wanted), Parameter::Number { bytes }) => *bytes == wanted,
        (Argument::To(_), Parameter::Number { .. } | Parameter::Other)
        | (Argument::Number(_), Parameter::PointerTo(_) | Parameter::Other) => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::kernel::hook;

    fn to(name: &str) -> Parameter {
        Parameter::PointerTo(name.to_owned())
    }

    const INT: Parameter = Parameter::Number { bytes: 4 };

    fn alloc() -> Prototype {
        Prototype {
            parameters: vec![to("sock"), to("inet_timewait_death_row"), INT],
            returns: to("inet_timewait_sock"),
        }
    }

    #[test]
    fn a_hook_fits_the_prototype_that_it_was_written_for() {
        assert_eq!(difference(&alloc(), &hook::TIMEWAIT_FENTRY[0]), None);
    }

    #[test]
    fn every_difference_is_named() {
        let hook = &hook::TIMEWAIT_FENTRY[0];
        let said = |prototype: Prototype| difference(&prototype, hook).unwrap();

        let mut other = alloc();
        other.parameters[0] = to("inet_sock");
        assert_eq!(
            said(other),
            "its argument 1 is not a pointer to struct sock on this kernel"
        );

        let mut other = alloc();
        other.parameters[2] = Parameter::Number { bytes: 8 };
        assert_eq!(
            said(other),
            "its argument 3 is not a number of 4 bytes on this kernel"
        );

        let mut other = alloc();
        other.parameters.truncate(2);
        assert_eq!(said(other), "it has no argument 3 on this kernel");

        let mut other = alloc();
        other.parameters.push(INT);
        assert_eq!(said(other), "it takes 4 arguments on this kernel");

        let mut other = alloc();
        other.returns = INT;
        assert_eq!(
            said(other),
            "it does not return a pointer to struct inet_timewait_sock on this kernel"
        );
    }

    #[test]
    fn the_running_kernel_s_tracepoint_for_transitions_is_the_expected_one() {
        let Ok(btf) = Btf::of_running_kernel() else { return };
        assert_eq!(check(&btf, &hook::SET_STATE[0]), Ok(()));
    }
}
