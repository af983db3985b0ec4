//! The hooks of `--stacks`.

use super::{
    Argument::{Number, To},
    Attach, COUNTED, Feature, Hook, hook, returning,
};
use tcptrace_common::Field;

const REGISTERS: &[Field] = &[Field::RegsIp, Field::RegsSp, Field::RegsBp, Field::RegsCs];

pub(crate) const CONNECT: Hook = hook(
    "stack_connect",
    Attach::TpBtf,
    "inet_sock_set_state",
    Feature::Stacks,
    &[To("sock"), Number(4), Number(4)],
    REGISTERS,
    &[],
);

pub(crate) const ACCEPT: Hook = returning(
    hook(
        "stack_accept",
        Attach::Fexit,
        "inet_csk_accept",
        Feature::Stacks,
        &[To("sock")],
        REGISTERS,
        &[],
    ),
    To("sock"),
    COUNTED,
);

/// The same by way of the system call's end.
pub(crate) const ACCEPT_SYSCALL: Hook = hook(
    "stack_accept_syscall",
    Attach::TpBtf,
    "sys_exit",
    Feature::Stacks,
    &[To("pt_regs"), Number(8)],
    &[
        Field::RegsIp,
        Field::RegsSp,
        Field::RegsBp,
        Field::RegsCs,
        Field::RegsOrigAx,
        Field::Files,
        Field::FileTable,
        Field::FileArray,
        Field::FilePrivate,
        Field::SocketSk,
        Field::Socket,
    ],
    &[],
);

pub(crate) const READ: Hook = hook(
    "stack_read",
    Attach::TpBtf,
    "sock_recv_length",
    Feature::Stacks,
    &[To("sock"), Number(4), Number(4)],
    REGISTERS,
    &[],
);

/// Every hook of `--stacks`; without it none is loaded.
pub(crate) const ALL: [Hook; 4] = [CONNECT, ACCEPT, ACCEPT_SYSCALL, READ];
