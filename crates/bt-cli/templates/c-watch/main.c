/* A watcher: it runs when something changed in the directory of its permission, and looks what is there now. */

#include <dirent.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* The directory of the permission `files`, as the app sees it: a slash and the permission's name. */
#define DIRECTORY "/files"
/* What it keeps there. */
#define LIST "LIST"
#define LIST_BYTES 1000000

static int is_listed(const struct dirent *entry) {
    return strcmp(entry->d_name, ".") != 0 && strcmp(entry->d_name, "..") != 0 && strcmp(entry->d_name, LIST) != 0;
}

/* Whether the list that is there is the same: writing is a change, too, and would run this app again. */
static int is_current(const char *list) {
    static char before[LIST_BYTES + 1];
    FILE *file = fopen(DIRECTORY "/" LIST, "r");
    if (file == NULL) {
        return 0;
    }
    size_t bytes = fread(before, 1, LIST_BYTES, file);
    fclose(file);
    return bytes == strlen(list) && memcmp(before, list, bytes) == 0;
}

int main(void) {
    static char list[LIST_BYTES];
    struct dirent **entries;
    int count = scandir(DIRECTORY, &entries, is_listed, alphasort);
    if (count < 0) {
        perror(DIRECTORY);
        return 1;
    }
    size_t bytes = 0;
    for (int at = 0; at < count && bytes + strlen(entries[at]->d_name) + 2 < sizeof list; at++) {
        bytes += sprintf(list + bytes, "%s\n", entries[at]->d_name);
    }
    if (is_current(list)) {
        return 0;
    }
    FILE *file = fopen(DIRECTORY "/" LIST, "w");
    if (file == NULL || fputs(list, file) < 0 || fclose(file) != 0) {
        perror(DIRECTORY "/" LIST);
        return 1;
    }
    return 0;
}
