// Takes previews to the light table with the id TABLE. previews.py describes `props.value`.
watch("value", () => residae.tables.find(({ id }) => id === TABLE)?.preview(props.value || null));
