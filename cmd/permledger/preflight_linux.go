package main

import "syscall"

// apart lets a process end with this one, however that ends, and keeps an interrupt at the terminal from it.
func apart() *syscall.SysProcAttr {
	return &syscall.SysProcAttr{Setpgid: true, Pdeathsig: syscall.SIGKILL}
}
