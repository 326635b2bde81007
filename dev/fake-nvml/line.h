/* One line of the text file: a word and its key=value pairs. */
#ifndef FAKE_NVML_LINE_H
#define FAKE_NVML_LINE_H

#include <stddef.h>

#define LINE_LENGTH 1024
#define MAX_PAIRS 48

struct pair {
    const char *key, *value;
    int asked_for; /* some reader knows this key; a pair nobody asked for is a typing mistake */
};

struct line {
    unsigned int number;
    char text[LINE_LENGTH];
    const char *word;
    struct pair pairs[MAX_PAIRS];
    size_t count;
};

/* Report a mistake in the file on standard error. */
void complain(const struct line *line, const char *format, ...) __attribute__((format(printf, 2, 3)));

/* Cut line->text into word and pairs, in place; the word is NULL on an empty line. */
void split_line(struct line *line);

/* Values by key; `otherwise` where the key was left out. */
const char *text_of(struct line *line, const char *key, const char *otherwise);
long long number_of(struct line *line, const char *key, long long otherwise);
int int_of(struct line *line, const char *key, int otherwise);
void copy_of(struct line *line, const char *key, char *target, size_t length, const char *otherwise);

/*
 * Give a key of an unsplit line a value, in place: what was there is replaced, a comment stays at the end.
 * Returns 0, or -1 if the line would become too long.
 */
int set_value(char text[LINE_LENGTH], const char *key, int value);

#endif
