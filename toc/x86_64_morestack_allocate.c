/* __morestack_allocate_stack_space for programs that are no crates but hold TOC code: what gcc calls for alloca() and
 * variable-length arrays when they would pass the stack limit. Like __morestack beside it, it is never called as long
 * as there is no limit.
 *
 * It uses neither libc nor thread-locals, so that it can be linked into anything. A block lives until its function has
 * returned: seen by a later call of the same thread with a higher stack pointer.
 */
#include <stddef.h>
#include <stdint.h>
#include <sys/mman.h>
#include <sys/syscall.h>

struct block {
    struct block *next;
    uintptr_t thread; /* thread pointer of the owner */
    uintptr_t sp;     /* the owner's stack pointer */
    size_t size;      /* of the mapping */
} __attribute__((aligned(16)));

static struct block *blocks; /* guarded by lock */
static int lock;

static long system_call(long number, long a, long b, long c, long d)
{
    register long r10 __asm__("r10") = d;
    register long r8 __asm__("r8") = -1;
    register long r9 __asm__("r9") = 0;
    long result = number;
    __asm__ volatile("syscall"
                     : "+a"(result)
                     : "D"(a), "S"(b), "d"(c), "r"(r10), "r"(r8), "r"(r9)
                     : "rcx", "r11", "memory");
    return result;
}

static uintptr_t thread_pointer(void)
{
    uintptr_t result;
    __asm__("mov %%fs:0, %0" : "=r"(result));
    return result;
}

/* Unmaps the blocks whose functions have returned. */
static void release_dead(uintptr_t thread, uintptr_t sp)
{
    for (struct block **place = &blocks; *place;) {
        struct block *block = *place;
        if (block->thread != thread || block->sp >= sp) {
            place = &block->next;
            continue;
        }
        *place = block->next;
        system_call(SYS_munmap, (long)block, (long)block->size, 0, 0);
    }
}

__attribute__((weak, visibility("hidden"))) void *__morestack_allocate_stack_space(size_t size)
{
    uintptr_t thread = thread_pointer();
    uintptr_t sp = (uintptr_t)__builtin_frame_address(0);
    size_t mapping = size + sizeof(struct block);
    long block = mapping < size
                     ? -1
                     : system_call(SYS_mmap, 0, (long)mapping, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS);
    if (block < 0 && block > -4096)
        __builtin_trap(); /* like a stack overflow: nobody could be told */
    while (__atomic_exchange_n(&lock, 1, __ATOMIC_ACQUIRE))
        __builtin_ia32_pause();
    release_dead(thread, sp);
    *(struct block *)block = (struct block){blocks, thread, sp, mapping};
    blocks = (struct block *)block;
    __atomic_store_n(&lock, 0, __ATOMIC_RELEASE);
    return (struct block *)block + 1;
}
