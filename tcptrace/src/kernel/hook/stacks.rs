//! The hooks of `--stacks`.

use super::{
    Argument::{Number, To},
    Attach, COUNTED, Feature, Hook, hook, returning,
};
use tcptrace_common::Field;

const REGISTERS: &[Field] = &[Field::RegsIp, Field::RegsSp, Field::RegsBp, Field::RegsCs];

/// The stack of `connect`.
pub const CONNECT: Hook = hook(
    "stack_connect",
    Attach::TpBtf,
    "inet_sock_set_state",
    Feature::Stacks,
    &[To("sock"), Number(4), Number(4)],
    REGISTERS,
    &[],
);

/// The stack of `accept`.
pub const ACCEPT: Hook = returning(
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
pub const ACCEPT_SYSCALL: Hook = hook(
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

/// The stack of a read.
pub const READ: Hook = hook(
    "stack_read",
    Attach::TpBtf,
    "sock_recv_length",
    Feature::Stacks,
    &[To("sock"), Number(4), Number(4)],
    REGISTERS,
    &[],
);

/// Every hook of `--stacks`; without it none is loaded.
pub const ALL: [Hook; 4] = [CONNECT, ACCEPT, ACCEPT_SYSCALL, READ];
