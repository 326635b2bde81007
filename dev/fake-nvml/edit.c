/* Rewrites the text file: into a new one beside it, which then takes its name. */
#include "edit.h"

#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "machine.h"

static void copy_lines(FILE *from, FILE *to, line_editor edit, const void *wanted)
{
    char text[LINE_LENGTH];
    while (fgets(text, sizeof text, from) != NULL) {
        if (strchr(text, '\n') == NULL && strlen(text) < sizeof text - 1) strcat(text, "\n");
        struct line line = {0};
        memcpy(line.text, text, sizeof text);
        split_line(&line);
        if (line.word == NULL || edit(&line, text, wanted)) fputs(text, to);
    }
}

int rewrite_file(line_editor edit, const void *wanted, const char *addition)
{
    char path[1024];
    struct stat status;
    snprintf(path, sizeof path, "%.1000s.%d", config_path(), (int)getpid());
    FILE *from = fopen(config_path(), "re");
    if (from == NULL) return -1;
    FILE *to = fopen(path, "we");
    if (to == NULL) {
        fclose(from);
        return -1;
    }
    copy_lines(from, to, edit, wanted);
    fputs(addition, to);
    if (fstat(fileno(from), &status) == 0) (void)!fchmod(fileno(to), status.st_mode & 0777);
    fclose(from);
    int written = ferror(to) == 0;
    written = fclose(to) == 0 && written;
    if (written && rename(path, config_path()) == 0) return 0;
    unlink(path);
    return -1;
}
