"""Do it: the use cases, one public class per file."""
