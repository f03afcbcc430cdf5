-- Instances with implausible character sets, UIDs or dates
with {labelled},
judged as (
    select *, [issue.code for issue in issues] as codes
    from labelled
),
counted as (
    select
        by_modality, by_manufacturer,
        unnest([
            {'area': 'charset', 'fault': 'text beyond ASCII, no SpecificCharacterSet',
                'n': count(*) filter (list_contains(codes, 'charset_undeclared'))},
            {'area': 'charset', 'fault': 'a SpecificCharacterSet that nobody defines',
                'n': count(*) filter (list_contains(codes, 'charset_unknown'))},
            {'area': 'charset', 'fault': 'bytes that the declared set cannot decode',
                'n': count(*) filter (list_contains(codes, 'charset_replaced'))},
            {'area': 'UID', 'fault': 'an invalid UID (PS3.5 9.1)',
                'n': count(*) filter (list_contains(codes, 'invalid_uid'))},
            {'area': 'UID', 'fault': 'no SOPInstanceUID in the data set',
                'n': count(*) filter (list_contains(codes, 'uid_from_file_meta'))},
            {'area': 'UID', 'fault': 'no StudyInstanceUID', 'n': count(*) filter (StudyInstanceUID is null)},
            {'area': 'UID', 'fault': 'no SeriesInstanceUID', 'n': count(*) filter (SeriesInstanceUID is null)},
            {'area': 'UID', 'fault': 'one UID for two of study, series and instance',
                'n': count(*) filter (
                    StudyInstanceUID = SeriesInstanceUID
                    or SeriesInstanceUID = SOPInstanceUID
                    or StudyInstanceUID = SOPInstanceUID)},
            {'area': 'date', 'fault': 'no StudyDate', 'n': count(*) filter (StudyDate is null)},
            {'area': 'date', 'fault': 'StudyDate in the future', 'n': count(*) filter (StudyDate > {today})},
            {'area': 'date', 'fault': 'StudyDate before ' || year({oldest}), 'n': count(*) filter (StudyDate < {oldest})},
            {'area': 'date', 'fault': 'SeriesDate before StudyDate', 'n': count(*) filter (SeriesDate < StudyDate)},
            {'area': 'date', 'fault': 'AcquisitionDate more than a day from StudyDate',
                'n': count(*) filter (abs(date_diff('day', AcquisitionDate, StudyDate)) > 1)},
            {'area': 'date', 'fault': 'StudyDate before PatientBirthDate', 'n': count(*) filter (StudyDate < PatientBirthDate)},
            {'area': 'date', 'fault': 'a patient older than 120 years',
                'n': count(*) filter (date_sub('year', PatientBirthDate, StudyDate) > 120)},
            {'area': 'date', 'fault': 'PatientAge and PatientBirthDate disagree by more than a year',
                'n': count(*) filter (
                    regexp_full_match(PatientAge, '\d{3}Y')
                    and abs(date_sub('year', PatientBirthDate, StudyDate) - try_cast(left(PatientAge, 3) as int)) > 1)}
        ]) as rule
    from judged
    group by by_modality, by_manufacturer
)
select by_modality, by_manufacturer, rule.area as area, rule.fault as fault, rule.n as instances
from counted
where rule.n > 0
order by instances desc, area, fault, by_modality, by_manufacturer
