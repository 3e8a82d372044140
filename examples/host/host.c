/* A program that is extended by crates: it gives them a function of its own, calls theirs, and lists them.
 *
 *     cc -o host host.c $(pkg-config --cflags --libs crateld)
 *     cc -fPIC -c greeting.c && crateld link -z undefs -o greeting.crate greeting.o
 *     ./host greeting.crate */
#include <crateld/host.h>
#include <stdio.h>

/* What crates may call. */
static void say(const char *text)
{
    printf("a crate says: %s\n", text);
}

static int print_crate(struct crateld_crate *crate, void *context)
{
    (void)context;
    printf("%s is %s, with %zu reference(s)\n", crateld_crate_name(crate), crateld_crate_path(crate),
           crateld_crate_references(crate));
    return 0;
}

static struct crateld_error *run(const char *path)
{
    struct crateld_host *host;
    struct crateld_crate *crate;
    void *greet;
    struct crateld_error *error = crateld_host_get(NULL, &host);
    if (!error)
        error = crateld_host_define(host, "say", (void *)say);
    if (!error)
        error = crateld_crate_open(host, path, &crate);
    if (!error)
        error = crateld_crate_symbol(crate, "greet", &greet);
    if (error)
        return error;
    printf("greet() returns %d\n", ((int (*)(const char *))greet)("world"));
    crateld_host_each(host, print_crate, NULL);
    return crateld_crate_close(crate);
}

int main(int argc, char **argv)
{
    struct crateld_error *error = argc > 1 ? run(argv[1]) : NULL;
    if (!error)
        return argc < 2;
    fprintf(stderr, "host: %s\n", crateld_error_message(error));
    crateld_error_destroy(error);
    return 1;
}
