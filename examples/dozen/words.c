#include "words.h"

#include <ctype.h>
#include <string.h>

void words_visit(struct arena *arena, struct text text, word_visitor *visit, void *context)
{
    for (size_t i = 0; i < text.size;) {
        size_t start = i;
        while (i < text.size && isalpha((unsigned char)text.at[i]))
            i++;
        if (i > start) {
            char *word = arena_take(arena, i - start + 1);
            for (size_t k = start; k < i; k++)
                word[k - start] = (char)tolower((unsigned char)text.at[k]);
            visit(context, word);
        } else {
            i++;
        }
    }
}
