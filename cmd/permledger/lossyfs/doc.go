// Package lossyfs is a file system for tests that forgets, when the power goes, what was never synced. Only
// tests import it. A process that is killed loses nothing it has written, because the kernel still holds it:
// a kill says nothing about the disk. This does.
//
// A Disk has two states: the one programs see, in which every change is there at once, and the one the
// platter has, which a change reaches when it is synced. PowerOff leaves the second one. Mount shows the disk
// through FUSE, mounted directly, so the test must be root and have /dev/fuse; nothing else is needed. The
// whole disk is in memory: nothing that is tested here is large, and nothing of it is to last.
//
//	disk := lossyfs.New(lossyfs.Config{Keep: 0.5, Seed: 1})
//	err := disk.Mount(dir)      // programs work in dir
//	disk.PowerOff()             // from here on every operation fails
//	err = disk.Unmount()        // when they are gone
//	err = disk.Mount(dir)       // what remained
//
// # The model
//
// It is that of ext4, XFS and Btrfs as they are mounted by default, and no better than they promise to be:
//
//   - fsync, fdatasync, and each write to a file opened with O_SYNC or O_DSYNC make the file's bytes and its
//     size durable, and that it is there under its present name: its creation, its renaming, and the
//     directories above it that are new.
//   - fsync of a directory makes its entries durable as they are, with empty files where the bytes were not
//     synced.
//   - A rename is one step. It is durable after an fsync of the file renamed or of either directory, and never
//     leaves both names or none.
//   - Anything else is gone: bytes, sizes, files, names. An unlink that was not synced is undone. That a file
//     is synced says nothing about another one.
//   - Modes, owners and times are durable at once; programs that rely on losing them are not tested here.
//
// With Config.Strict a file's fsync says nothing about its name, which is all that POSIX says. With Config.Keep
// a share of what was not synced reaches the platter all the same: the blocks of a file on their own, in any
// order, with holes of zeros where others are missing; changes of names in their order, because these file
// systems keep a journal of them.
package lossyfs
