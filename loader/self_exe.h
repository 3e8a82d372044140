/* /proc/self/exe for crates. The kernel's answer is crateld; a program that asks where it lies means its crate, and one
 * that executes itself again means `crateld run` of it. The functions are libc's but for that. */
#ifndef LOADER_SELF_EXE_H
#define LOADER_SELF_EXE_H

#include <spawn.h>
#include <stddef.h>
#include <sys/types.h>

ssize_t self_readlink(const char *path, char *at, size_t size);
ssize_t self_readlink_chk(const char *path, char *at, size_t size, size_t room);
ssize_t self_readlinkat(int folder, const char *path, char *at, size_t size);
ssize_t self_readlinkat_chk(int folder, const char *path, char *at, size_t size, size_t room);
char *self_realpath(const char *path, char *at);
char *self_realpath_chk(const char *path, char *at, size_t room);
char *self_canonicalize(const char *path);

int self_execve(const char *path, char *const argv[], char *const envp[]);
int self_execv(const char *path, char *const argv[]);
int self_execvp(const char *file, char *const argv[]);
int self_execvpe(const char *file, char *const argv[], char *const envp[]);
int self_execl(const char *path, const char *arg, ...);
int self_execle(const char *path, const char *arg, ...);
int self_execlp(const char *file, const char *arg, ...);
int self_spawn(pid_t *pid, const char *path, const posix_spawn_file_actions_t *actions,
               const posix_spawnattr_t *attributes, char *const argv[], char *const envp[]);
int self_spawnp(pid_t *pid, const char *file, const posix_spawn_file_actions_t *actions,
                const posix_spawnattr_t *attributes, char *const argv[], char *const envp[]);

#endif
