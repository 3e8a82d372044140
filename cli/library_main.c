/* The entry of programs whose main() is in a library that they are linked against, as test frameworks have it: a
 * crate's entry is a function of its own. In the archive that every link has at hand; taken only by those. */
int main(int argc, char **argv, char **envp);
int crateld_library_main(int argc, char **argv, char **envp) __attribute__((visibility("hidden")));

int crateld_library_main(int argc, char **argv, char **envp)
{
    return main(argc, argv, envp);
}
