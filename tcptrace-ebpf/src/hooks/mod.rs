//! One file per hook, named after what it attaches to. A hook reports; it decides nothing.

mod cookie;
mod inet_csk_accept;
mod inet_csk_reqsk_queue;
mod inet_sock_set_state;
mod inet_sock_set_state_classic;
mod inet_twsk;
mod iter_task_file;
mod iter_tcp;
mod kfree_skb;
mod reqsk_timer_handler;
mod reset;
mod returned;
mod segment;
mod stacks;
mod task_rename;
mod tcp_timewait_state_process;
mod timer;
