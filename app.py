"""The page, as a Space runs it. All of it is in `residae.ui`."""

from residae.ui.launch import main

if __name__ == "__main__":
    main()
