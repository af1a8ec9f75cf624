from residae.cli import main

raise SystemExit(main())
