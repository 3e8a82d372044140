/* Near matches: what is offered, what is not, and that it is cheap. */
#include <criterion/criterion.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "linker/near_match.h"
#include "tests/unit/errors.h"
#include "tests/unit/leaks.h"

TestSuite(linker_near_match, .fini = require_no_leaks);

static const char *const known[] = {
    "calloc",    "malloc",        "memcpy",        "print_report",    "PrintTotals", "png_create_read_struct",
    "_Z5shapei", "_ZN3foo3barEi", "_ZN3foo3bazEv", "_ZNK3foo4sizeEv", "c_function",  "_ZN3fooC1Ei",
    "ab",        "_ZSt4sortPi",   "_Z3tplIiEvT_",
};

/* The description of the match for `name` must be `expected`; NULL: there must be none. */
static void require_match(const char *name, enum near_match_kind kind, const char *expected)
{
    struct near_matcher *matcher;
    require_success(near_matcher_create(known, sizeof known / sizeof known[0], &matcher));
    struct near_match match = near_match_find(matcher, name);
    char *text = near_match_describe(&match);
    cr_assert_eq(match.kind, kind, "%s: %s", name, text ? text : "none");
    if (expected)
        cr_assert_str_eq(text, expected, "%s: %s", name, text);
    else
        cr_assert_null(text);
    free(text);
    near_matcher_destroy(matcher);
}

Test(linker_near_match, small_slips_are_found)
{
    require_match("maloc", NEAR_MATCH_SPELLING, "did you mean 'malloc'?");
    require_match("mallco", NEAR_MATCH_SPELLING, "did you mean 'malloc'?");
    require_match("memcpyy", NEAR_MATCH_SPELLING, "did you mean 'memcpy'?");
    require_match("memxpy", NEAR_MATCH_SPELLING, "did you mean 'memcpy'?");
    require_match("print_reprot", NEAR_MATCH_SPELLING, "did you mean 'print_report'?");
    require_match("png_create_raed_struc", NEAR_MATCH_SPELLING, "did you mean 'png_create_read_struct'?");
    require_match("printtotals", NEAR_MATCH_SPELLING, "did you mean 'PrintTotals'?");
    require_match("_ZN3foo4barrEi", NEAR_MATCH_SPELLING, "did you mean 'foo::bar(int)'?");
}

Test(linker_near_match, the_first_known_of_equals_is_taken)
{
    require_match("xalloc", NEAR_MATCH_SPELLING, "did you mean 'calloc'?");
}

Test(linker_near_match, other_linkage_is_told)
{
    require_match("_Z10c_functioni", NEAR_MATCH_C_LINKAGE,
                  "'c_function' is defined with C linkage: the declaration lacks extern \"C\"");
    require_match("shape", NEAR_MATCH_CXX_LINKAGE,
                  "'shape(int)' is defined with C++ linkage: the definition lacks extern \"C\"");
}

Test(linker_near_match, other_parameters_and_qualifiers_are_told)
{
    require_match("_ZN3foo3barEjj", NEAR_MATCH_SIGNATURE, "'foo::bar(int)' is defined");
    require_match("_ZN3foo4sizeEv", NEAR_MATCH_SIGNATURE, "'foo::size() const' is defined");
    require_match("_ZN3fooC2EPKc", NEAR_MATCH_SIGNATURE, "'foo::foo(int)' is defined");
    require_match("_ZSt4sortPlS_", NEAR_MATCH_SIGNATURE, "'std::sort(int*)' is defined");
}

Test(linker_near_match, names_of_their_own_match_nothing)
{
    require_match("qsort", NEAR_MATCH_NONE, NULL);
    require_match("xy", NEAR_MATCH_NONE, NULL);
    require_match("", NEAR_MATCH_NONE, NULL);
    require_match("free", NEAR_MATCH_NONE, NULL);
    require_match("_ZN6vendor6unlikeEv", NEAR_MATCH_NONE, NULL);
    require_match("_ZN99brokenE", NEAR_MATCH_NONE, NULL);
    require_match("_Z", NEAR_MATCH_NONE, NULL);
}

Test(linker_near_match, names_of_any_length_are_taken)
{
    char *name = malloc(70000);
    memset(name, 'a', 69999);
    for (size_t length = 250; length < 70000; length = length < 260 ? length + 1 : length * 2) {
        name[length] = 0;
        require_match(name, NEAR_MATCH_NONE, NULL);
        name[length] = 'a';
    }
    free(name);
}

/* A slow reference: the optimal string alignment distance. */
static unsigned reference_distance(const char *a, const char *b)
{
    unsigned table[16][16];
    size_t a_length = strlen(a), b_length = strlen(b);
    for (size_t i = 0; i <= a_length; i++) {
        for (size_t j = 0; j <= b_length; j++) {
            unsigned best = i ? j ? 99 : (unsigned)i : (unsigned)j;
            if (i && j) {
                unsigned change = table[i - 1][j - 1] + (a[i - 1] != b[j - 1]);
                unsigned shift = (table[i - 1][j] < table[i][j - 1] ? table[i - 1][j] : table[i][j - 1]) + 1;
                best = change < shift ? change : shift;
                if (i > 1 && j > 1 && a[i - 1] == b[j - 2] && a[i - 2] == b[j - 1] && table[i - 2][j - 2] + 1 < best)
                    best = table[i - 2][j - 2] + 1;
            }
            table[i][j] = best;
        }
    }
    return table[a_length][b_length];
}

Test(linker_near_match, random_words_agree_with_a_slow_reference)
{
    enum { COUNT = 64, ROUNDS = 300 };
    char words[COUNT][16], name[16];
    const char *names[COUNT];
    unsigned found = 0;
    srandom(7);
    for (unsigned round = 0; round < ROUNDS; round++) {
        for (unsigned i = 0; i <= COUNT; i++) {
            char *word = i < COUNT ? words[i] : name;
            size_t length = 3 + (size_t)random() % 10;
            for (size_t c = 0; c < length; c++)
                word[c] = "abc"[random() % 3];
            word[length] = 0;
            if (i < COUNT)
                names[i] = word;
        }
        unsigned best = strlen(name) < 6 ? 2 : 3;
        const char *expected = NULL;
        bool is_known = false;
        for (unsigned i = 0; i < COUNT; i++) {
            unsigned distance = reference_distance(name, names[i]);
            is_known |= distance == 0;
            if (distance < best) {
                best = distance;
                expected = names[i];
            }
        }
        struct near_matcher *matcher;
        require_success(near_matcher_create(names, COUNT, &matcher));
        struct near_match match = near_match_find(matcher, name);
        if (!is_known)
            cr_assert_eq(match.name, expected, "%s: %s, wanted %s", name, match.name, expected);
        found += match.name != NULL;
        near_matcher_destroy(matcher);
    }
    cr_assert_gt(found, ROUNDS / 4);
}

Test(linker_near_match, much_alike_names_are_compared_fast)
{
    enum { KNOWN = 100000, ASKED = 100 };
    static char texts[KNOWN][48];
    static const char *names[KNOWN];
    static const char *const parts[] = {"render", "list", "Buffer", "node", "count", "parse", "Stream", "update"};
    srandom(1);
    for (unsigned i = 0; i < KNOWN; i++) {
        snprintf(texts[i], sizeof texts[i], "_ZN3app6module%s_%s_%u", parts[random() % 8], parts[random() % 8], i);
        names[i] = texts[i];
    }
    struct near_matcher *matcher;
    require_success(near_matcher_create(names, KNOWN, &matcher));
    struct timespec start, end;
    clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &start);
    for (unsigned i = 0; i < ASKED; i++) {
        char name[64];
        snprintf(name, sizeof name, "_ZN3app6moduleXy%s_z%s_%u", parts[i % 8], parts[i / 8 % 8], i);
        near_match_find(matcher, name);
    }
    clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &end);
    double seconds = (double)(end.tv_sec - start.tv_sec) + (double)(end.tv_nsec - start.tv_nsec) / 1e9;
    cr_log_info("%.3f s", seconds);
    cr_assert_lt(seconds, 10, "%.1f s", seconds); /* 0.4 s without sanitizers */
    near_matcher_destroy(matcher);
}
