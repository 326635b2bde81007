/* Takes lines of the text file apart (format: README.md), and changes values in them. */
#include "line.h"

#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

void complain(const struct line *line, const char *format, ...)
{
    va_list arguments;
    va_start(arguments, format);
    fprintf(stderr, "fake-nvml: line %u: ", line->number);
    vfprintf(stderr, format, arguments);
    fputc('\n', stderr);
    va_end(arguments);
}

/* Cut the next token (a word, or key=value, or key="two words") out of *rest in place; NULL at the end. */
static char *next_token(char **rest)
{
    char *from = *rest + strspn(*rest, " \t\r\n");
    if (*from == '\0' || *from == '#') return NULL;
    char *to = from, *end = from;
    int quoted = 0;
    for (; *from != '\0' && (quoted || strchr(" \t\r\n", *from) == NULL); from++) {
        if (*from == '"') quoted = !quoted;
        else *to++ = *from;
    }
    *rest = *from == '\0' ? from : from + 1;
    *to = '\0';
    return end;
}

void split_line(struct line *line)
{
    char *rest = line->text;
    line->word = next_token(&rest);
    line->count = 0;
    for (char *token; (token = next_token(&rest)) != NULL;) {
        char *equals = strchr(token, '=');
        if (equals == NULL) {
            complain(line, "'%s' is not key=value", token);
        } else if (line->count < MAX_PAIRS) {
            *equals = '\0';
            line->pairs[line->count++] = (struct pair){token, equals + 1, 0};
        }
    }
}

const char *text_of(struct line *line, const char *key, const char *otherwise)
{
    for (size_t i = 0; i < line->count; i++) {
        if (strcmp(line->pairs[i].key, key) != 0) continue;
        line->pairs[i].asked_for = 1;
        return line->pairs[i].value;
    }
    return otherwise;
}

long long number_of(struct line *line, const char *key, long long otherwise)
{
    const char *text = text_of(line, key, NULL);
    if (text == NULL) return otherwise;
    char *end;
    errno = 0;
    long long number = strtoll(text, &end, 0); /* base 0: throttle reasons are written as 0x40 */
    if (errno == 0 && end != text && *end == '\0') return number;
    complain(line, "%s=%s is not a number", key, text);
    return otherwise;
}

int int_of(struct line *line, const char *key, int otherwise)
{
    return (int)number_of(line, key, otherwise);
}

void copy_of(struct line *line, const char *key, char *target, size_t length, const char *otherwise)
{
    snprintf(target, length, "%s", text_of(line, key, otherwise));
}

/* Length of the token at `from`, quotes and all. */
static size_t token_length(const char *from)
{
    size_t length = 0;
    for (int quoted = 0; from[length] != '\0' && (quoted || strchr(" \t\r\n", from[length]) == NULL); length++)
        if (from[length] == '"') quoted = !quoted;
    return length;
}

int set_value(char text[LINE_LENGTH], const char *key, int value)
{
    char changed[LINE_LENGTH + 64];
    size_t used = 0, key_length = strlen(key);
    const char *from = text + strspn(text, " \t\r\n");
    while (*from != '\0' && *from != '#') {
        size_t length = token_length(from);
        int is_old = length > key_length && strncmp(from, key, key_length) == 0 && from[key_length] == '=';
        if (!is_old) {
            memcpy(changed + used, from, length);
            used += length;
            changed[used++] = ' ';
        }
        from += length;
        from += strspn(from, " \t\r\n");
    }
    size_t rest = strcspn(from, "\r\n");
    int written = snprintf(changed + used, sizeof changed - used, "%s=%d%s%.*s\n", key, value, rest > 0 ? " " : "",
                           (int)rest, from);
    if (used + (size_t)written >= LINE_LENGTH) return -1;
    memcpy(text, changed, used + (size_t)written + 1);
    return 0;
}
